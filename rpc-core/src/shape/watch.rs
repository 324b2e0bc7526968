//! What a probe notes while a type deserializes itself, and what that means for the next one.

use std::fmt;

use super::graph::{Graph, Id, Node, Variant};

/// Values that a type is offered one after the other before it counts as refusing.
pub(super) const OFFERS: usize = 12;

/// A probe ended early. What is to be done about it is noted where it happened.
#[derive(Debug)]
pub(super) struct Objection;

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the probe ends here")
    }
}

impl std::error::Error for Objection {}

impl serde::de::Error for Objection {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// Values by key, in the order of the keys: as quick as a hash for so few, and far less code.
struct Notes<K, V>(Vec<(K, V)>);

impl<K: Ord, V: Copy> Notes<K, V> {
    const fn new() -> Self {
        Self(Vec::new())
    }

    fn get(&self, key: &K) -> Option<V> {
        let place = self.0.binary_search_by(|(other, _)| other.cmp(key));
        place.ok().and_then(|at| self.0.get(at)).map(|it| it.1)
    }

    fn set(&mut self, key: K, value: V) {
        match self.0.binary_search_by(|(other, _)| other.cmp(&key)) {
            Ok(at) => self
                .0
                .iter_mut()
                .skip(at)
                .take(1)
                .for_each(|it| it.1 = value),
            Err(at) => self.0.insert(at, (key, value)),
        }
    }
}

/// What is remembered from probe to probe, and within one.
///
/// Types come in by their names, so that nothing here is compiled once more for each of them.
pub(super) struct Watch {
    pub(super) graph: Graph,
    /// The node of each named type. Types are told apart by their full name with parameters.
    types: Notes<(&'static str, &'static str), Id>,
    /// How many of the values each type has objected to.
    objections: Notes<&'static str, usize>,
    /// The variant to try where a value of an enum is needed and no variant is known to end.
    guesses: Notes<Id, usize>,
    /// The named types that the probe is inside of.
    pub(super) inside: Vec<Id>,
    /// The types that the probe is inside of, the named and the others.
    pub(super) names: Vec<&'static str>,
    /// The enums inside each other whose variant is a guess.
    pub(super) guessing: Vec<Id>,
    /// Whether the objection that ends this probe is dealt with.
    settled: bool,
    /// Values that hold others, in all probes so far.
    pub(super) visits: usize,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self {
            graph: Graph::new(),
            types: Notes::new(),
            objections: Notes::new(),
            guesses: Notes::new(),
            inside: Vec::new(),
            names: Vec::new(),
            guessing: Vec::new(),
            settled: false,
            visits: 0,
        }
    }

    pub(super) fn begin(&mut self, name: &'static str) {
        self.graph.reason();
        self.graph.learnt = false;
        self.inside.clear();
        self.names.clear();
        self.names.push(name);
        self.guessing.clear();
        self.settled = false;
    }

    /// The number of the value to offer to the type `of` next: types further out have a say where
    /// those further in had no objection.
    pub(super) fn offer(&self, of: &'static str) -> usize {
        std::iter::once(&of)
            .chain(self.names.iter().rev())
            .find_map(|name| self.objections.get(name))
            .unwrap_or(0)
    }

    /// Deals with an objection, unless somebody further in did: the type `of` at node `id` made it.
    pub(super) fn object(&mut self, of: &'static str, id: Id) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        let objections = self.objections.get(&of).unwrap_or(0).saturating_add(1);
        self.objections.set(of, objections);
        if objections < OFFERS {
            self.graph.learnt = true;
        } else {
            self.graph.refuse(id);
        }
    }

    /// Ends the probe at a node that says nothing of what is in it.
    pub(super) fn opaque(&mut self, id: Id) -> Objection {
        self.graph.learn(id, Node::Opaque);
        self.graph.refuse(id);
        self.settled = true;
        Objection
    }

    /// Ends the probe: no value can be had of this node, and it is known why.
    pub(super) fn refuse<R>(&mut self, id: Id) -> Result<R, Objection> {
        self.graph.refuse(id);
        self.stop()
    }

    /// Ends the probe with nothing to be noted.
    pub(super) fn stop<R>(&mut self) -> Result<R, Objection> {
        self.settled = true;
        Err(Objection)
    }

    /// The node of the type `of` with this name, which occurs at node `at`.
    pub(super) fn named(
        &mut self,
        of: &'static str,
        name: &'static str,
        at: Id,
    ) -> Result<Id, Objection> {
        let key = (of, name);
        let id = match self.types.get(&key) {
            Some(id) => id,
            None => {
                let Some(id) = self.graph.add() else {
                    return self.refuse(at);
                };
                self.types.set(key, id);
                id
            }
        };
        self.graph.learn(at, Node::Same(id));
        Ok(id)
    }

    /// The probe is inside of the named type `of` at node `id` from now on.
    pub(super) fn step_in(&mut self, id: Id, of: &'static str) {
        self.inside.push(id);
        self.names.push(of);
    }

    /// The probe has left the named type that it was in.
    pub(super) fn step_out(&mut self) {
        self.names.pop();
        self.inside.pop();
    }

    /// The children of a tuple of `length` elements at node `id`.
    pub(super) fn tuple(&mut self, id: Id, length: usize) -> Result<Vec<Id>, Objection> {
        if let Node::Unknown = self.graph.node(id) {
            let Some(children) = self.graph.add_many(length) else {
                return self.refuse(id);
            };
            self.graph.learn(id, Node::Tuple(children));
        }
        match self.graph.node(id) {
            Node::Tuple(children) if children.len() == length => Ok(children.clone()),
            _ => self.refuse(id),
        }
    }

    /// The children of a struct with these fields at node `id`.
    pub(super) fn fields(
        &mut self,
        id: Id,
        name: &'static str,
        fields: &'static [&'static str],
    ) -> Result<Vec<Id>, Objection> {
        if let Node::Unknown = self.graph.node(id) {
            let Some(children) = self.graph.add_many(fields.len()) else {
                return self.refuse(id);
            };
            let fields = fields.iter().copied().zip(children).collect();
            self.graph.learn(id, Node::Struct(name, fields));
        }
        match self.graph.node(id) {
            Node::Struct(_, known) if known.len() == fields.len() => {
                Ok(known.iter().map(|&(_, id)| id).collect())
            }
            _ => self.refuse(id),
        }
    }

    /// The variants of the enum at node `id`.
    pub(super) fn variants(
        &mut self,
        id: Id,
        name: &'static str,
        variants: &'static [&'static str],
    ) -> Result<Vec<Variant>, Objection> {
        if let Node::Unknown = self.graph.node(id) {
            let Some(contents) = self.graph.add_many(variants.len()) else {
                return self.refuse(id);
            };
            let variant = |(&name, content)| Variant {
                name,
                content,
                seen: false,
            };
            let variants = variants.iter().zip(contents).map(variant).collect();
            self.graph.learn(id, Node::Enum(name, variants));
        }
        match self.graph.node(id) {
            Node::Enum(_, known) if !known.is_empty() && known.len() == variants.len() => {
                Ok(known.clone())
            }
            _ => self.refuse(id),
        }
    }

    /// The variant to make a value of; `plain` where the value need only be made, not looked at.
    pub(super) fn choose(
        &mut self,
        id: Id,
        variants: &[Variant],
        plain: bool,
    ) -> Result<usize, Objection> {
        // The variant for which this is least, and the first of those.
        let least = |of: &dyn Fn(&Variant) -> Option<usize>| {
            let each = variants.iter().enumerate();
            each.filter_map(|(index, variant)| Some((of(variant)?, index)))
                .min()
        };
        let nearest = if plain {
            None
        } else {
            least(&|variant| self.graph.unseen(variant))
        };
        let chosen = nearest.or_else(|| least(&|v| self.graph.facts(v.content).rank));
        if let Some((_, index)) = chosen {
            return Ok(index);
        }
        if let Some(start) = self.guessing.iter().position(|&enclosing| enclosing == id) {
            self.guess_again(start);
            return self.stop();
        }
        let guess = self.guesses.get(&id).unwrap_or(0);
        let possible = |index: &usize| {
            variants
                .get(*index)
                .is_some_and(|v| self.graph.is_worth_entering(v.content))
        };
        match (guess..variants.len()).chain(0..guess).find(possible) {
            Some(index) => Ok(index),
            None => self.refuse(id),
        }
    }

    /// The guesses of these enums lead back to the first of them. Moves on to the next combination
    /// of guesses, as an odometer does.
    fn guess_again(&mut self, start: usize) {
        let circle = self.guessing.get(start..).unwrap_or_default().to_vec();
        for &id in circle.iter().rev() {
            let Node::Enum(_, variants) = self.graph.node(id) else {
                continue;
            };
            let guess = self.guesses.get(&id).unwrap_or(0).saturating_add(1);
            if guess < variants.len() {
                self.guesses.set(id, guess);
                self.graph.learnt = true;
                return;
            }
            self.guesses.set(id, 0);
        }
        // All were tried: there is no value that ends.
        for id in circle {
            self.graph.refuse(id);
        }
    }
}
