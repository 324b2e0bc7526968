//! What is known of a type so far: a graph of nodes, filled in by one probe after another.
//!
//! A type that occurs twice, or inside itself, has one node that others refer to. The graph also
//! answers what the next probe should do: which variants are still to be seen, which values can be
//! made at all, and by which variant a value is made without going in circles.

use super::{Part, Shape};

/// Nodes of one type's graph: generous for real types, and the probe stays in the milliseconds.
const NODES_MAX: usize = 4096;
/// Nodes of the tree that a graph unfolds to, where types that occur twice are written out twice.
const TREE_MAX: usize = 4096;

/// Names a node.
pub(super) type Id = usize;

/// The node that every type begins at.
pub(super) const ROOT: Id = 0;

/// One node.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Not seen yet, or never to be seen.
    Unknown,
    /// A scalar, a string, a unit.
    Leaf(Shape),
    Option(Id),
    Seq(Id),
    Map(Id, Id),
    Tuple(Vec<Id>),
    Struct(&'static str, Vec<(&'static str, Id)>),
    Enum(&'static str, Vec<Variant>),
    /// A named type; where it is a newtype, what it wraps.
    Same(Id),
    /// A type that wants a format which describes itself.
    Opaque,
}

/// One variant of an enum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variant {
    pub(super) name: &'static str,
    pub(super) content: Id,
    /// Whether a value of this variant was made.
    pub(super) seen: bool,
}

/// What is known of one node beyond its kind. Worked out anew before each probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// How far it is to the nearest thing in it that is still to be seen, if there is one. Going
    /// for the nearest never leads in circles, even where a type contains itself.
    pub(super) unseen: Option<usize>,
    /// No value of it can be made.
    pub(super) refused: bool,
    /// How deep the shallowest value of it nests, where that is known.
    pub(super) rank: Option<usize>,
}

/// What is known of a type.
#[derive(Debug)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    facts: Vec<Facts>,
    /// Nodes whose type accepted none of the values that were tried.
    refused: Vec<bool>,
    /// Whether anything was learnt since this was last reset.
    pub(super) learnt: bool,
}

impl Graph {
    pub(super) fn new() -> Self {
        Self {
            nodes: vec![Node::Unknown],
            facts: vec![Facts::default()],
            refused: vec![false],
            learnt: false,
        }
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        self.nodes.get(id).unwrap_or(&Node::Unknown)
    }

    pub(super) fn facts(&self, id: Id) -> Facts {
        self.facts.get(id).copied().unwrap_or_default()
    }

    /// Whether a value should be asked of this node: one can be made, or something can be learnt
    /// from the attempt.
    pub(super) fn is_worth_entering(&self, id: Id) -> bool {
        let facts = self.facts(id);
        facts.unseen.is_some() || !facts.refused
    }

    /// A new node, unless there are too many.
    pub(super) fn add(&mut self) -> Option<Id> {
        let id = self.nodes.len();
        if id >= NODES_MAX {
            return None;
        }
        self.nodes.push(Node::Unknown);
        // Nothing is known of it, so it is to be seen.
        self.facts.push(Facts {
            unseen: Some(0),
            ..Facts::default()
        });
        self.refused.push(false);
        Some(id)
    }

    pub(super) fn add_many(&mut self, count: usize) -> Option<Vec<Id>> {
        (0..count).map(|_| self.add()).collect()
    }

    /// Says what a node is, the first time.
    pub(super) fn learn(&mut self, id: Id, node: Node) {
        if let Some(place @ Node::Unknown) = self.nodes.get_mut(id) {
            *place = node;
            self.learnt = true;
        }
    }

    /// Notes that a value of this variant was made.
    pub(super) fn see(&mut self, id: Id, variant: usize) {
        if let Some(Node::Enum(_, variants)) = self.nodes.get_mut(id) {
            if let Some(variant) = variants.get_mut(variant) {
                self.learnt |= !variant.seen;
                variant.seen = true;
            }
        }
    }

    /// Notes that no value of this node can be made.
    pub(super) fn refuse(&mut self, id: Id) {
        if let Some(refused) = self.refused.get_mut(id) {
            self.learnt |= !*refused;
            *refused = true;
        }
    }

    /// Works out the facts of all nodes: repeats the local rules until nothing changes.
    pub(super) fn reason(&mut self) {
        let direct = |refused: &bool| Facts {
            refused: *refused,
            ..Facts::default()
        };
        self.facts = self.refused.iter().map(direct).collect();
        // Each round settles at least one node for good, or is the last.
        for _ in 0..NODES_MAX {
            let mut changed = false;
            for id in (0..self.nodes.len()).rev() {
                let new = self.local(id);
                if let Some(old) = self.facts.get_mut(id) {
                    changed |= *old != new;
                    *old = new;
                }
            }
            if !changed {
                break;
            }
        }
    }

    /// The facts of one node as they follow from those of its children.
    fn local(&self, id: Id) -> Facts {
        let refused = self.refused.get(id).copied().unwrap_or_default();
        let mut facts = match self.node(id) {
            // Where nothing can be made there is nothing more to be seen either.
            Node::Unknown => Facts {
                unseen: (!refused).then_some(0),
                ..Facts::default()
            },
            Node::Leaf(_) => Facts {
                rank: Some(0),
                ..Facts::default()
            },
            Node::Opaque => Facts {
                refused: true,
                ..Facts::default()
            },
            // These can do without what they hold.
            Node::Option(inner) | Node::Seq(inner) => Facts {
                refused: false,
                rank: Some(0),
                ..self.product([*inner].into_iter())
            },
            Node::Map(key, value) => Facts {
                refused: false,
                rank: Some(0),
                ..self.product([*key, *value].into_iter())
            },
            Node::Same(inner) => self.facts(*inner),
            Node::Tuple(elements) => self.product(elements.iter().copied()),
            Node::Struct(_, fields) => self.product(fields.iter().map(|&(_, id)| id)),
            Node::Enum(_, variants) => self.sum(variants),
        };
        facts.refused |= refused;
        if facts.refused {
            facts.rank = None;
        }
        facts
    }

    fn product(&self, children: impl Iterator<Item = Id>) -> Facts {
        let mut facts = Facts {
            rank: Some(0),
            ..Facts::default()
        };
        for child in children.map(|id| self.facts(id)) {
            // Children are asked in order, so what follows a refusal is out of reach.
            if !facts.refused {
                facts.unseen = nearer(facts.unseen, child.unseen.map(further));
            }
            facts.refused |= child.refused;
            facts.rank = facts
                .rank
                .and_then(|rank| Some(rank.max(further(child.rank?))));
        }
        facts
    }

    fn sum(&self, variants: &[Variant]) -> Facts {
        let facts = |variant: &Variant| self.facts(variant.content);
        Facts {
            unseen: variants
                .iter()
                .filter_map(|variant| self.unseen(variant))
                .min(),
            refused: variants.iter().all(|variant| facts(variant).refused),
            rank: variants
                .iter()
                .filter_map(|variant| facts(variant).rank)
                .min()
                .map(further),
        }
    }

    /// How far it is to the nearest thing to be seen by way of this variant.
    pub(super) fn unseen(&self, variant: &Variant) -> Option<usize> {
        let facts = self.facts(variant.content);
        let itself = (!variant.seen && !facts.refused).then_some(0);
        nearer(itself, facts.unseen.map(further))
    }

    /// The whole as a tree.
    pub(super) fn shape(&self) -> Shape {
        let mut unfolding = Unfolding {
            graph: self,
            inside: Vec::new(),
            depth: 0,
            left: TREE_MAX,
        };
        unfolding.shape(ROOT)
    }
}

fn further(distance: usize) -> usize {
    distance.saturating_add(1)
}

fn nearer(one: Option<usize>, other: Option<usize>) -> Option<usize> {
    one.into_iter().chain(other).min()
}

/// Turns a graph into a tree.
struct Unfolding<'a> {
    graph: &'a Graph,
    /// The nodes that are being unfolded, with the depth of the tree at which each began.
    inside: Vec<(Id, usize)>,
    depth: usize,
    left: usize,
}

impl Unfolding<'_> {
    fn shape(&mut self, id: Id) -> Shape {
        if let Some(&(_, depth)) = self.inside.iter().find(|&&(inside, _)| inside == id) {
            let up = self.depth.saturating_sub(depth);
            return u32::try_from(up).map_or(Shape::Opaque, Shape::Recursive);
        }
        let Some(left) = self.left.checked_sub(1) else {
            return Shape::Opaque;
        };
        self.left = left;
        self.inside.push((id, self.depth));
        let shape = self.node(id);
        self.inside.pop();
        shape
    }

    fn node(&mut self, id: Id) -> Shape {
        match self.graph.node(id) {
            Node::Unknown | Node::Opaque => Shape::Opaque,
            Node::Leaf(shape) => shape.same(),
            Node::Same(inner) => self.shape(*inner),
            Node::Option(inner) => Shape::Option(Box::new(self.child(*inner))),
            Node::Seq(element) => match self.child(*element) {
                Shape::U8 => Shape::Bytes,
                element => Shape::Seq(Box::new(element)),
            },
            Node::Map(key, value) => {
                Shape::Map(Box::new(self.child(*key)), Box::new(self.child(*value)))
            }
            Node::Tuple(elements) if elements.is_empty() => Shape::Unit,
            Node::Tuple(elements) => Shape::Tuple(
                elements
                    .iter()
                    .map(|&element| self.child(element))
                    .collect(),
            ),
            Node::Struct(_, fields) if fields.is_empty() => Shape::Unit,
            Node::Struct(name, fields) => Shape::Struct {
                name: (*name).to_owned(),
                fields: fields
                    .iter()
                    .map(|&(name, id)| self.part(name, id))
                    .collect(),
            },
            Node::Enum(name, variants) => Shape::Enum {
                name: (*name).to_owned(),
                variants: variants
                    .iter()
                    .map(|v| self.part(v.name, v.content))
                    .collect(),
            },
        }
    }

    fn child(&mut self, id: Id) -> Shape {
        self.depth = self.depth.saturating_add(1);
        let shape = self.shape(id);
        self.depth = self.depth.saturating_sub(1);
        shape
    }

    fn part(&mut self, name: &str, id: Id) -> Part {
        Part {
            name: name.to_owned(),
            shape: self.child(id),
        }
    }
}
