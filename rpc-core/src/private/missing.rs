//! What keeps the expansion of a faulty trait free of errors that say nothing.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    Answer, Block, Call, Channel, Lent, Method, Outcome, Passage, Reply, Request, Shape, Tail,
    TryCall, Wire,
};

/// What stands in for the functions that a faulty type does not have.
pub trait Missing {
    /// The type itself.
    type Type: ?Sized;
    /// Whether the type can be sent.
    const SENDS: bool = false;
    /// Whether the type can be received.
    const RECEIVES: bool = false;

    /// Stands in for [`Wire::pass`].
    fn pass(_: &Self::Type) -> Never {
        unreachable!("{REFUSED}")
    }

    /// Stands in for [`Block::part`].
    fn part(_: Self::Type) -> (Never, Tail)
    where
        Self::Type: Sized,
    {
        unreachable!("{REFUSED}")
    }

    /// Stands in for [`Wire::take`].
    fn take(held: Never) -> Self::Type
    where
        Self::Type: Sized,
    {
        match held {}
    }

    /// Stands in for [`Lent::lend`].
    fn lend(held: &Never) -> &Self::Type {
        match *held {}
    }

    /// Stands in for [`Wire::shape`].
    fn shape() -> Shape {
        unreachable!("{REFUSED}")
    }

    /// Stands in for [`Wire::reply`].
    fn reply(_: &Request, _: &mut Answer, _: Self::Type)
    where
        Self::Type: Sized,
    {
        unreachable!("{REFUSED}")
    }

    /// Stands in for [`Outcome::try_reply`].
    fn try_reply(_: &Request, _: &mut Answer, _: Self::Type)
    where
        Self::Type: Sized,
    {
        unreachable!("{REFUSED}")
    }

    /// Stands in for [`Wire::recode`].
    fn recode(_: &Passage, _: Reply) -> Reply {
        unreachable!("{REFUSED}")
    }

    /// Stands in for [`Wire::call`].
    fn call<A>(_: &Channel, _: &'static Method, _: &A) -> Call<Self::Type>
    where
        Self::Type: Sized,
    {
        unreachable!("{REFUSED}")
    }

    /// Stands in for [`Wire::call_parts`].
    fn call_parts<A>(_: &Channel, _: &'static Method, _: &A, _: Tail) -> Call<Self::Type>
    where
        Self::Type: Sized,
    {
        unreachable!("{REFUSED}")
    }

    /// Stands in for [`Outcome::try_call`].
    fn try_call<T, E, A>(_: &Channel, _: &'static Method, _: &A) -> TryCall<T, E> {
        unreachable!("{REFUSED}")
    }

    /// Stands in for [`Outcome::try_call_parts`].
    fn try_call_parts<T, E, A>(_: &Channel, _: &'static Method, _: &A, _: Tail) -> TryCall<T, E> {
        unreachable!("{REFUSED}")
    }
}

const REFUSED: &str = "the type was refused at compile time";

impl<T: ?Sized> Missing for Wire<T> {
    type Type = T;
}

impl<T: ?Sized> Missing for Block<T> {
    type Type = T;
}

impl<T: ?Sized> Missing for Lent<T> {
    type Type = T;
}

impl<R> Missing for Outcome<R> {
    type Type = R;
}

/// What is encoded and decoded for a faulty type: nothing, because it never comes to that.
pub enum Never {}

impl Serialize for Never {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        match *self {}
    }
}

impl<'de> Deserialize<'de> for Never {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom(REFUSED))
    }
}
