//! Lets a type deserialize itself while it is watched.
//!
//! A probe is a deserializer that answers every question with an ordinary value and notes the
//! question. One probe sees one variant of each enum on its way, so probes are repeated until
//! nothing is left to be seen; each begins with what the earlier ones learnt.
//!
//! A type may object to a value, as `NonZeroU8` does to 0. The innermost type on whose way out the
//! objection is seen is then offered another value in the next probe, and after the last of them
//! counts as refusing. What holds it goes on without it where it can: an option is `None`, a list
//! empty, an enum another variant.
//!
//! What is generic is compiled for each type of each service of a program. So what has to do with the
//! type is [apart](questions), and nothing here is generic that need not be.

mod questions;

use std::any::type_name;

use serde::Deserialize;

use super::Shape;
use super::graph::{Id, Node, ROOT, Variant};
use super::watch::{Objection, Watch};

/// Probes of one type. Each learns something, and no real type has so much to teach.
const PROBES_MAX: usize = 2048;
/// Values that hold others, in all probes of one type: some tenths of a second at worst.
const VISITS_MAX: usize = 1_000_000;
/// Levels that a value may nest while it is probed; also the bound on the stack.
const DEPTH_MAX: usize = 64;

/// Reads the shape of `T`.
pub(super) fn shape<'de, T: Deserialize<'de>>() -> Shape {
    watch::<T>().graph.shape()
}

/// Probes `T` until nothing more is learnt, or it has been looked at often enough.
pub(super) fn watch<'de, T: Deserialize<'de>>() -> Watch {
    watch_type(type_name::<T>(), &mut |probe| {
        T::deserialize(probe).is_err()
    })
}

/// Probes the type `of`, which answers a probe with whether it objects.
fn watch_type(of: &'static str, objects: &mut dyn FnMut(Probe<'_>) -> bool) -> Watch {
    let mut watch = Watch::new();
    for _ in 0..PROBES_MAX {
        watch.begin(of);
        let probe = Probe {
            watch: &mut watch,
            id: ROOT,
            depth: 0,
            plain: false,
        };
        if objects(probe) {
            watch.object(of, ROOT);
        }
        if !watch.graph.learnt || watch.visits > VISITS_MAX {
            break;
        }
    }
    watch
}

/// Deserializes one value out of nothing.
struct Probe<'a> {
    watch: &'a mut Watch,
    /// Where what is learnt goes.
    id: Id,
    depth: usize,
    /// Whether any value will do: the type is known, or is being looked at further out.
    plain: bool,
}

impl<'a> Probe<'a> {
    /// The same probe, for less long.
    fn again(&mut self) -> Probe<'_> {
        Probe {
            watch: &mut *self.watch,
            ..*self
        }
    }

    /// Notes a leaf, and gives the number of the value to offer.
    fn leaf(&mut self, of: &'static str, shape: Shape) -> usize {
        self.watch.graph.learn(self.id, Node::Leaf(shape));
        self.watch.offer(of)
    }

    /// Passes on what the type `of`, which is at this node, made of a leaf.
    fn left<R>(self, of: &'static str, result: Result<R, Objection>) -> Result<R, Objection> {
        if result.is_err() {
            self.watch.object(of, self.id);
        }
        result
    }

    /// Goes one level deeper, to the named type at `id` if there is one.
    fn enter(mut self, named: Option<Id>) -> Result<Self, Objection> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > DEPTH_MAX {
            return self.watch.refuse(self.id);
        }
        self.watch.visits = self.watch.visits.saturating_add(1);
        if self.watch.visits > VISITS_MAX {
            return self.watch.stop();
        }
        if let Some(id) = named {
            let known = !matches!(self.watch.graph.node(id), Node::Unknown)
                && self.watch.graph.facts(id).unseen.is_none();
            self.plain |= known || self.watch.inside.contains(&id);
            self.id = id;
        }
        Ok(self)
    }

    /// Goes on to the named type `of`.
    fn enter_named(self, of: &'static str, name: &'static str) -> Result<Self, Objection> {
        let id = self.watch.named(of, name, self.id)?;
        self.enter(Some(id))
    }

    /// How many elements a list or map should have that holds these.
    fn length(&self, of: &'static str, children: &[Id]) -> usize {
        let graph = &self.watch.graph;
        let enter = children.iter().all(|&id| graph.is_worth_entering(id));
        let unseen = children.iter().any(|&id| graph.facts(id).unseen.is_some());
        // A type that objects to an empty list is offered longer ones.
        let wanted = self.watch.offer(of).min(2);
        match (enter, self.plain) {
            (false, _) => 0,
            (true, true) => wanted,
            (true, false) => wanted.max(usize::from(unseen)),
        }
    }

    /// A probe of the type `of`, which is at node `id` inside of something else.
    fn of_child(
        watch: &'a mut Watch,
        id: Id,
        depth: usize,
        plain: bool,
        of: &'static str,
    ) -> Result<Self, Objection> {
        if !watch.graph.is_worth_entering(id) {
            return watch.stop();
        }
        watch.names.push(of);
        Ok(Self {
            watch,
            id,
            depth,
            plain,
        })
    }

    fn children(self, ids: Vec<Id>) -> Children<'a> {
        Children {
            watch: self.watch,
            ids: ids.into_iter(),
            at: self.id,
            depth: self.depth,
            plain: self.plain,
        }
    }

    /// An option, and whether something is to be in it: then the probe is at what is inside, and so is
    /// the objection, if any. The option would have taken it.
    fn option(self, of: &'static str) -> Result<(Self, bool), Objection> {
        let at = self.id;
        let mut probe = self.enter(None)?;
        if let Node::Unknown = probe.watch.graph.node(at) {
            let Some(inner) = probe.watch.graph.add() else {
                return probe.watch.refuse(at);
            };
            probe.watch.graph.learn(at, Node::Option(inner));
        }
        let Node::Option(inner) = *probe.watch.graph.node(at) else {
            return probe.watch.refuse(at);
        };
        // A type that objects to `None` is offered every other value as well.
        let offer = probe.watch.offer(of);
        let some = probe.length(of, &[inner]) > 0 && (!probe.plain || offer % 2 == 1);
        probe.watch.names.push(of);
        if some {
            probe.id = inner;
        }
        Ok((probe, some))
    }

    /// The node of a newtype, which the probe is inside of, and a probe at what it holds.
    fn newtype(self, of: &'static str, name: &'static str) -> Result<(Id, Self), Objection> {
        let mut probe = self.enter_named(of, name)?;
        let id = probe.id;
        if let Node::Unknown = probe.watch.graph.node(id) {
            let Some(inner) = probe.watch.graph.add() else {
                return probe.watch.refuse(id);
            };
            probe.watch.graph.learn(id, Node::Same(inner));
        }
        let Node::Same(inner) = *probe.watch.graph.node(id) else {
            return probe.watch.refuse(id);
        };
        probe.watch.step_in(id, of);
        probe.id = inner;
        Ok((id, probe))
    }

    fn seq(self, of: &'static str) -> Result<Children<'a>, Objection> {
        let at = self.id;
        let probe = self.enter(None)?;
        if let Node::Unknown = probe.watch.graph.node(at) {
            let Some(element) = probe.watch.graph.add() else {
                return probe.watch.refuse(at);
            };
            probe.watch.graph.learn(at, Node::Seq(element));
        }
        let Node::Seq(element) = *probe.watch.graph.node(at) else {
            return probe.watch.refuse(at);
        };
        let length = probe.length(of, &[element]);
        Ok(probe.children(vec![element; length]))
    }

    fn map(self, of: &'static str) -> Result<Children<'a>, Objection> {
        let at = self.id;
        let probe = self.enter(None)?;
        if let Node::Unknown = probe.watch.graph.node(at) {
            let (key, value) = (probe.watch.graph.add(), probe.watch.graph.add());
            let (Some(key), Some(value)) = (key, value) else {
                return probe.watch.refuse(at);
            };
            probe.watch.graph.learn(at, Node::Map(key, value));
        }
        let Node::Map(key, value) = *probe.watch.graph.node(at) else {
            return probe.watch.refuse(at);
        };
        let length = probe.length(of, &[key, value]);
        Ok(probe.children([key, value].repeat(length)))
    }

    fn tuple(self, length: usize) -> Result<Children<'a>, Objection> {
        let probe = self.enter(None)?;
        let ids = probe.watch.tuple(probe.id, length)?;
        Ok(probe.children(ids))
    }

    /// The fields of a struct without names, which the probe is inside of.
    fn tuple_struct(
        self,
        of: &'static str,
        name: &'static str,
        length: usize,
    ) -> Result<Children<'a>, Objection> {
        let probe = self.enter_named(of, name)?;
        let ids = probe.watch.tuple(probe.id, length)?;
        probe.watch.step_in(probe.id, of);
        Ok(probe.children(ids))
    }

    /// The fields of a struct, which the probe is inside of.
    fn fields(
        self,
        of: &'static str,
        name: &'static str,
        fields: &'static [&'static str],
    ) -> Result<Children<'a>, Objection> {
        let probe = self.enter_named(of, name)?;
        let ids = probe.watch.fields(probe.id, name, fields)?;
        probe.watch.step_in(probe.id, of);
        Ok(probe.children(ids))
    }

    /// A variant of an enum, which the probe is inside of.
    fn variant(
        self,
        of: &'static str,
        name: &'static str,
        variants: &'static [&'static str],
    ) -> Result<Contents<'a>, Objection> {
        let Self {
            watch,
            id,
            depth,
            plain,
        } = self.enter_named(of, name)?;
        let variants = watch.variants(id, name, variants)?;
        let number = watch.choose(id, &variants, plain)?;
        let Some(&Variant { content, .. }) = variants.get(number) else {
            return watch.refuse(id);
        };
        let guessed = watch.graph.facts(id).rank.is_none() && plain;
        if guessed {
            watch.guessing.push(id);
        }
        watch.step_in(id, of);
        Ok(Contents {
            watch,
            id,
            guessed,
            content,
            number,
            depth,
            plain,
        })
    }
}

/// The children of a value, one after the other.
struct Children<'a> {
    watch: &'a mut Watch,
    ids: std::vec::IntoIter<Id>,
    /// What they are the children of.
    at: Id,
    depth: usize,
    plain: bool,
}

impl Children<'_> {
    /// Passes on what the type `of`, whose children these are, made of them.
    fn left<R>(self, of: &'static str, result: Result<R, Objection>) -> Result<R, Objection> {
        if result.is_err() {
            self.watch.object(of, self.at);
        }
        result
    }
}

/// The variant of an enum that was chosen.
struct Contents<'a> {
    watch: &'a mut Watch,
    /// The enum.
    id: Id,
    /// Whether the variant is a guess.
    guessed: bool,
    content: Id,
    number: usize,
    depth: usize,
    plain: bool,
}

impl<'a> Contents<'a> {
    /// The same contents, for less long.
    fn again(&mut self) -> Contents<'_> {
        Contents {
            watch: &mut *self.watch,
            ..*self
        }
    }

    /// The type `of` has objected to this variant, or has been seen with it.
    fn left(self, of: &'static str, objected: bool) {
        self.watch.step_out();
        if self.guessed {
            self.watch.guessing.pop();
        }
        if objected {
            // It is to this variant; the enum has others.
            self.watch.object(of, self.content);
        } else {
            self.watch.graph.see(self.id, self.number);
        }
    }

    fn children(self, ids: Vec<Id>) -> Children<'a> {
        Children {
            watch: self.watch,
            ids: ids.into_iter(),
            at: self.content,
            depth: self.depth,
            plain: self.plain,
        }
    }

    fn tuple(self, length: usize) -> Result<Children<'a>, Objection> {
        let ids = self.watch.tuple(self.content, length)?;
        Ok(self.children(ids))
    }

    fn fields(self, fields: &'static [&'static str]) -> Result<Children<'a>, Objection> {
        let ids = self.watch.fields(self.content, "", fields)?;
        Ok(self.children(ids))
    }
}
