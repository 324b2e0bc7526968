//! Why a value was not encoded, or a message not decoded and where.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use crate::error::{Code, Error};

/// A refused value or message. One word wide, because every step of both ways returns it.
///
/// The path to the fault is put together on the way out, step by step, so that a message without
/// a fault pays nothing for it.
pub(super) struct Fault(Box<Inner>);

struct Inner {
    message: Cow<'static, str>,
    hint: Option<&'static str>,
    /// Innermost step first.
    path: Vec<Step>,
    /// Where reading stopped.
    offset: Option<usize>,
    arguments: bool,
}

/// One step of the way from the message to a value inside it.
#[derive(Clone, Copy)]
pub(super) enum Step {
    /// An element of a list or a tuple, from 0.
    Element(usize),
    /// A field of a struct.
    Field(&'static str),
    /// The contents of an enum's variant.
    Variant(&'static str),
    /// The key of a map's entry, from 0.
    Key(usize),
    /// The value of a map's entry, from 0.
    Value(usize),
}

impl Fault {
    #[cold]
    pub(super) fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            message: message.into(),
            hint: None,
            path: Vec::new(),
            offset: None,
            arguments: false,
        }))
    }

    /// The message ends before the value does.
    #[cold]
    pub(super) fn short(missing: usize) -> Self {
        Self::new(format!("the message ends {missing} bytes too early"))
    }

    #[cold]
    pub(super) fn with_hint(mut self, hint: &'static str) -> Self {
        self.0.hint = Some(hint);
        self
    }

    /// What can be done about it.
    pub(super) fn hint(&self) -> Option<&'static str> {
        self.0.hint
    }

    /// Adds the next outer step of the path.
    #[cold]
    pub(super) fn inside(mut self, step: Step) -> Self {
        self.0.path.push(step);
        self
    }

    /// Sets where reading stopped.
    #[cold]
    pub(super) fn at(mut self, offset: usize) -> Self {
        self.0.offset.get_or_insert(offset);
        self
    }

    /// The outermost tuple is a method's arguments.
    #[cold]
    pub(super) fn in_arguments(mut self) -> Self {
        self.0.arguments = true;
        self
    }

    #[cold]
    pub(super) fn into_error(self) -> Error {
        let error = Error::new(Code::Codec, self.to_string());
        match self.0.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

/// Steps of a path that are shown from its outer end; the rest is cut.
const SHOWN_STEPS: usize = 12;

impl fmt::Display for Fault {
    /// `argument 2, .tags[3], byte 17: what happened`, as far as it is known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut path = self.0.path.iter().rev().copied().peekable();
        let mut separator = "";
        if self.0.arguments {
            if let Some(&Step::Element(index)) = path.peek() {
                path.next();
                write!(f, "argument {}", index.saturating_add(1))?;
                separator = ", ";
            }
        }
        if path.peek().is_some() {
            f.write_str(separator)?;
            for step in path.by_ref().take(SHOWN_STEPS) {
                match step {
                    Step::Element(index) => write!(f, "[{index}]")?,
                    Step::Field(name) => write!(f, ".{name}")?,
                    Step::Variant(name) => write!(f, "::{name}")?,
                    Step::Key(index) => write!(f, "[key {index}]")?,
                    Step::Value(index) => write!(f, "[value {index}]")?,
                }
            }
            if path.peek().is_some() {
                f.write_str("...")?;
            }
            separator = ", ";
        }
        if let Some(offset) = self.0.offset {
            write!(f, "{separator}byte {offset}")?;
            separator = ": ";
        } else if !separator.is_empty() {
            separator = ": ";
        }
        write!(f, "{separator}{}", self.0.message)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Fault {}

impl serde::ser::Error for Fault {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(clip(&message))
    }
}

impl serde::de::Error for Fault {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(clip(&message))
    }
}

/// Characters of a type's own message that are passed on: it may quote what the peer sent.
const TEXT_MAX: usize = 256;

/// The text without control characters and of bounded length.
pub(super) fn clip(text: &dyn fmt::Display) -> String {
    struct Clipped {
        text: String,
        left: usize,
    }

    impl fmt::Write for Clipped {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for character in text.chars() {
                self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
                if character.is_control() {
                    self.text.extend(character.escape_default());
                } else {
                    self.text.push(character);
                }
            }
            Ok(())
        }
    }

    let mut clipped = Clipped {
        text: String::new(),
        left: TEXT_MAX,
    };
    if write!(clipped, "{text}").is_err() {
        clipped.text.push_str("...");
    }
    clipped.text
}
