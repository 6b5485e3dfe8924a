//! A map of rows that shares what did not change with its former self.
//!
//! The snapshot has a million domains, and one changed row must not rebuild it. This is a hash trie
//! (Bagwell, "Ideal Hash Trees", 2001) with eight branches a level and leaves of up to
//! [`MAX_LEAF`] rows. A copy is one pointer; a change copies the nodes on the way to its leaf, and
//! none that nobody else holds.
//!
//! ```text
//!   RowMap ─▶ Branch ─▶ Branch ─▶ Leaf [(hash, row), (hash, row), …]
//!                 ╲─▶ Leaf        the hash is kept, so that a look-up compares few keys
//! ```
//!
//! Hashes have no secret (randomness is not for this crate). Whoever finds names with equal hashes
//! makes one leaf slow, for rows of their own making; the store bounds how many those are.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// A row that a [`RowMap`] can hold.
pub(crate) trait Row {
    /// What the row is found by.
    type Key: Eq + Hash + ?Sized;

    /// The key of this row.
    fn key(&self) -> &Self::Key;
}

/// A persistent map of rows by their key.
#[derive(Debug)]
pub(crate) struct RowMap<R> {
    root: Arc<Node<R>>,
    len: usize,
}

impl<R: Row> RowMap<R> {
    /// The row with this key.
    pub(crate) fn get(&self, key: &R::Key) -> Option<&Arc<R>> {
        let hash = hash_of(key);
        let mut node = &*self.root;
        let mut level = 0;
        loop {
            match node {
                Node::Branch(children) => {
                    node = children.get(branch(hash, level))?;
                    level += 1;
                }
                Node::Leaf(entries) => {
                    return entries
                        .iter()
                        .find(|entry| entry.hash == hash && entry.row.key() == key)
                        .map(|entry| &entry.row);
                }
            }
        }
    }

    /// Puts a row in, and gives back the one that had its key.
    pub(crate) fn insert(&mut self, row: Arc<R>) -> Option<Arc<R>> {
        let hash = hash_of(row.key());
        let former = insert_into(&mut self.root, Entry { hash, row }, 0);
        if former.is_none() {
            self.len += 1;
        }
        former
    }

    /// Takes the row with this key out.
    pub(crate) fn remove(&mut self, key: &R::Key) -> Option<Arc<R>> {
        // A key that is not there must not copy the nodes on the way to where it would be.
        self.get(key)?;
        let removed = remove_from(&mut self.root, key, hash_of(key), 0);
        if removed.is_some() {
            self.len -= 1;
        }
        removed
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All rows, in no order that means anything.
    pub(crate) fn iter(&self) -> Iter<'_, R> {
        Iter { nodes: vec![&self.root], entries: [].iter() }
    }
}

impl<R> Clone for RowMap<R> {
    fn clone(&self) -> Self {
        Self { root: Arc::clone(&self.root), len: self.len }
    }
}

impl<R> Default for RowMap<R> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())), len: 0 }
    }
}

/// The rows of a map.
pub(crate) struct Iter<'a, R> {
    nodes: Vec<&'a Node<R>>,
    entries: std::slice::Iter<'a, Entry<R>>,
}

impl<'a, R> Iterator for Iter<'a, R> {
    type Item = &'a Arc<R>;

    fn next(&mut self) -> Option<&'a Arc<R>> {
        loop {
            if let Some(entry) = self.entries.next() {
                return Some(&entry.row);
            }
            match self.nodes.pop()? {
                Node::Branch(children) => self.nodes.extend(children.iter().map(|node| &**node)),
                Node::Leaf(entries) => self.entries = entries.iter(),
            }
        }
    }
}

#[derive(Debug)]
enum Node<R> {
    Branch([Arc<Self>; FAN_OUT]),
    Leaf(Vec<Entry<R>>),
}

// Derived implementations would ask for `R: Clone`, and rows are never copied.
impl<R> Clone for Node<R> {
    fn clone(&self) -> Self {
        match self {
            Self::Branch(children) => Self::Branch(children.clone()),
            Self::Leaf(entries) => Self::Leaf(entries.clone()),
        }
    }
}

#[derive(Debug)]
struct Entry<R> {
    hash: u64,
    row: Arc<R>,
}

impl<R> Clone for Entry<R> {
    fn clone(&self) -> Self {
        Self { hash: self.hash, row: Arc::clone(&self.row) }
    }
}

fn insert_into<R: Row>(node: &mut Arc<Node<R>>, entry: Entry<R>, level: u32) -> Option<Arc<R>> {
    match Arc::make_mut(node) {
        Node::Branch(children) => {
            let child = children.get_mut(branch(entry.hash, level))?;
            insert_into(child, entry, level + 1)
        }
        Node::Leaf(entries) => {
            let same = entries
                .iter_mut()
                .find(|old| old.hash == entry.hash && old.row.key() == entry.row.key());
            if let Some(old) = same {
                return Some(std::mem::replace(&mut old.row, entry.row));
            }
            if entries.len() < MAX_LEAF || level == MAX_LEVEL {
                entries.reserve_exact(LEAF_GROWTH.saturating_sub(entries.len() % LEAF_GROWTH));
                entries.push(entry);
                return None;
            }
            let mut parts: [Vec<Entry<R>>; FAN_OUT] = Default::default();
            for moved in entries.drain(..).chain([entry]) {
                if let Some(part) = parts.get_mut(branch(moved.hash, level)) {
                    part.push(moved);
                }
            }
            *node = Arc::new(Node::Branch(parts.map(|part| Arc::new(Node::Leaf(part)))));
            None
        }
    }
}

fn remove_from<R: Row>(
    node: &mut Arc<Node<R>>,
    key: &R::Key,
    hash: u64,
    level: u32,
) -> Option<Arc<R>> {
    match Arc::make_mut(node) {
        Node::Branch(children) => {
            remove_from(children.get_mut(branch(hash, level))?, key, hash, level + 1)
        }
        Node::Leaf(entries) => {
            let at =
                entries.iter().position(|entry| entry.hash == hash && entry.row.key() == key)?;
            Some(entries.swap_remove(at).row)
        }
    }
}

fn hash_of<K: Hash + ?Sized>(key: &K) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

/// The branch that a hash takes at a level. Always below [`FAN_OUT`].
fn branch(hash: u64, level: u32) -> usize {
    (hash >> (level * BITS) & (FAN_OUT as u64 - 1)) as usize
}

/// The bits of the hash that a level uses.
const BITS: u32 = 3;

/// The branches of a node.
const FAN_OUT: usize = 1 << BITS;

/// The deepest level with bits of the hash left; a leaf there takes whatever comes.
const MAX_LEVEL: u32 = u64::BITS / BITS;

/// The rows of a leaf before it becomes a branch: few enough to copy in a microsecond, enough to keep
/// the cost of nodes at a few bytes a row.
const MAX_LEAF: usize = 32;

/// By how many rows a leaf grows, so that it has little empty room.
const LEAF_GROWTH: usize = 4;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Eq, PartialEq)]
    struct Pair(u32, u32);

    impl Row for Pair {
        type Key = u32;

        fn key(&self) -> &u32 {
            &self.0
        }
    }

    fn contents(map: &RowMap<Pair>) -> BTreeMap<u32, u32> {
        map.iter().map(|pair| (pair.0, pair.1)).collect()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u32, u32),
        Remove(u32),
        Keep,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..300_u32, any::<u32>()).prop_map(|(key, value)| Step::Insert(key, value)),
            3 => (0..300_u32).prop_map(Step::Remove),
            1 => Just(Step::Keep),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn is_a_map_whose_copies_never_change(steps in prop::collection::vec(step(), 0..800)) {
            let mut map = RowMap::default();
            let mut model = BTreeMap::new();
            let mut kept = Vec::new();
            for step in steps {
                match step {
                    Step::Insert(key, value) => {
                        let former = map.insert(Arc::new(Pair(key, value)));
                        prop_assert_eq!(former.map(|pair| pair.1), model.insert(key, value));
                    }
                    Step::Remove(key) => {
                        prop_assert_eq!(map.remove(&key).map(|pair| pair.1), model.remove(&key));
                    }
                    Step::Keep => kept.push((map.clone(), model.clone())),
                }
                prop_assert_eq!(map.len(), model.len());
            }
            kept.push((map, model));
            for (map, model) in kept {
                prop_assert_eq!(contents(&map), model.clone());
                for key in 0..300 {
                    prop_assert_eq!(map.get(&key).map(|pair| pair.1), model.get(&key).copied());
                }
            }
        }
    }

    #[derive(Debug)]
    struct Colliding(u32);

    #[derive(Eq, PartialEq)]
    struct SameHash(u32);

    impl Hash for SameHash {
        fn hash<H: Hasher>(&self, state: &mut H) {
            state.write_u8(0);
        }
    }

    impl Row for (SameHash, Colliding) {
        type Key = SameHash;

        fn key(&self) -> &SameHash {
            &self.0
        }
    }

    #[test]
    fn equal_hashes_end_in_one_leaf_and_not_in_endless_depth() {
        let mut map = RowMap::default();
        for number in 0..1_000 {
            map.insert(Arc::new((SameHash(number), Colliding(number))));
        }
        assert_eq!(map.len(), 1_000);
        assert_eq!(map.get(&SameHash(777)).unwrap().1.0, 777);
        assert!(map.remove(&SameHash(5)).is_some());
        assert!(map.get(&SameHash(5)).is_none());
    }

    #[test]
    fn a_change_copies_the_way_to_its_leaf_and_no_more() {
        let mut map = RowMap::default();
        for number in 0..20_000 {
            map.insert(Arc::new(Pair(number, 0)));
        }
        let before = map.clone();
        map.insert(Arc::new(Pair(7, 1)));

        let rows_shared = before
            .iter()
            .filter(|row| map.get(&row.0).is_some_and(|now| Arc::ptr_eq(row, now)))
            .count();
        assert_eq!(rows_shared, 19_999);
        assert_eq!(nodes_not_shared(&before.root, &map.root), depth(&map, 7));
        assert_eq!(before.get(&7).unwrap().1, 0);
        assert_eq!(map.get(&7).unwrap().1, 1);
    }

    fn nodes_not_shared(one: &Arc<Node<Pair>>, two: &Arc<Node<Pair>>) -> usize {
        if Arc::ptr_eq(one, two) {
            return 0;
        }
        match (&**one, &**two) {
            (Node::Branch(one), Node::Branch(two)) => {
                1 + one.iter().zip(two).map(|(one, two)| nodes_not_shared(one, two)).sum::<usize>()
            }
            (_, _) => 1,
        }
    }

    fn depth(map: &RowMap<Pair>, key: u32) -> usize {
        let hash = hash_of(&key);
        let mut node = &*map.root;
        let mut level = 0;
        while let Node::Branch(children) = node {
            node = &children[branch(hash, level)];
            level += 1;
        }
        level as usize + 1
    }
}
