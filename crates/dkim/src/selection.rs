//! Which header fields a signature covers (§5.4), and how they are picked from a header (§5.4.2).
//!
//! A signer names fields by class:
//!
//! | class | in `h=`, for a field that stands there n times |
//! |---|---|
//! | oversigned | n + 1 times, so that one added later breaks the signature |
//! | oversigned if present | n + 1 times if n > 0 |
//! | as often as present | n times |
//!
//! What `h=` holds is bounded by [`MAX_FIELD_LIST_LEN`]. Fields of the last class that no longer fit are
//! left out; if one of the first two does not fit, there is no signature.
//!
//! The picking works from the bottom: the first time a name stands in `h=` means the lowest field of
//! that name, the next time the one above it, and when none is left, nothing.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::field::{Field, FieldName, Header};
use crate::signature::MAX_SIGNED_FIELDS;

/// Which fields to sign. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct FieldSelection(Rule);

#[derive(Clone, Debug)]
enum Rule {
    Default,
    Classes(Arc<FieldClasses>),
    Exactly(Arc<[FieldName]>),
}

impl FieldSelection {
    /// Takes fields by class.
    pub fn by_class(classes: FieldClasses) -> Result<Self, SelectionError> {
        let FieldClasses { oversigned, oversigned_if_present, as_present } = &classes;
        for name in oversigned.iter().chain(oversigned_if_present) {
            check(name)?;
        }
        for pattern in as_present {
            check(&pattern.name)?;
        }
        // `From` stands in every message that is signed, so each class covers it.
        let has_from =
            oversigned.iter().chain(oversigned_if_present).any(|n| *n == FieldName::FROM)
                || as_present.iter().any(|pattern| pattern.matches(b"From"));
        if !has_from {
            return Err(SelectionError::FromMissing);
        }
        Ok(Self(Rule::Classes(Arc::new(classes))))
    }

    /// Signs exactly these names, which become `h=` as they are: in this order and spelling, and as
    /// often as they stand there.
    pub fn exactly(names: Vec<FieldName>) -> Result<Self, SelectionError> {
        let mut list = FieldList::default();
        for name in &names {
            check(name)?;
            list.push(name.as_str()).ok_or(SelectionError::TooMany)?;
        }
        if !names.contains(&FieldName::FROM) {
            return Err(SelectionError::FromMissing);
        }
        Ok(Self(Rule::Exactly(names.into())))
    }

    /// The names of `h=` for a message with this header. Fails if there are too many that may not be
    /// left out.
    pub(crate) fn names<'s>(&'s self, header: &'s Header<'_>) -> Option<Vec<&'s str>> {
        match &self.0 {
            Rule::Exactly(names) => Some(names.iter().map(FieldName::as_str).collect()),
            Rule::Default => DEFAULT.names(header),
            Rule::Classes(classes) => {
                let FieldClasses { oversigned, oversigned_if_present, as_present } = &**classes;
                Classes { oversigned, oversigned_if_present, as_present }.names(header)
            }
        }
    }
}

/// What mail needs today.
///
/// Oversigned are the fields that a reader sees or that change what the body means; a second one would
/// be a forgery. Oversigned if present are those that an MTA may add when they are missing. The rest
/// is signed where it stands: RFC 8058 asks for the List-Unsubscribe fields, RFC 9477 for CFBL-*,
/// Gmail's feedback loop for Feedback-ID.
impl Default for FieldSelection {
    fn default() -> Self {
        Self(Rule::Default)
    }
}

/// The fields to sign, by class.
#[derive(Clone, Debug, Default)]
pub struct FieldClasses {
    /// Once more than they are present.
    pub oversigned: Vec<FieldName>,
    /// Once more than they are present, if they are.
    pub oversigned_if_present: Vec<FieldName>,
    /// As often as they are present, as long as there is room in `h=`. What another class has is not
    /// taken from here.
    pub as_present: Vec<FieldPattern>,
}

impl FieldClasses {
    /// The classes of [`FieldSelection::default`], to be changed.
    #[must_use]
    pub fn standard() -> Self {
        Self {
            oversigned: DEFAULT.oversigned.to_vec(),
            oversigned_if_present: DEFAULT.oversigned_if_present.to_vec(),
            as_present: DEFAULT.as_present.to_vec(),
        }
    }
}

/// A field name, or the start of names, written `List-*`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct FieldPattern {
    name: FieldName,
    extent: Extent,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Extent {
    Whole,
    Start,
}

impl FieldPattern {
    const fn literal(text: &'static str) -> Self {
        Self { name: FieldName::literal(text), extent: Extent::Whole }
    }

    const fn literal_start(text: &'static str) -> Self {
        Self { name: FieldName::literal(text), extent: Extent::Start }
    }

    fn matches(&self, name: &[u8]) -> bool {
        match self.extent {
            Extent::Whole => self.name.matches(name),
            Extent::Start => {
                name.get(..self.name.as_str().len()).is_some_and(|start| self.name.matches(start))
            }
        }
    }
}

impl fmt::Display for FieldPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.extent == Extent::Start { "*" } else { "" };
        write!(f, "{}{star}", self.name)
    }
}

impl FromStr for FieldPattern {
    type Err = SelectionError;

    fn from_str(text: &str) -> Result<Self, SelectionError> {
        let (name, extent) = match text.strip_suffix('*') {
            Some(start) => (start, Extent::Start),
            None => (text, Extent::Whole),
        };
        let name = FieldName::parse(name).map_err(|_| SelectionError::BadName)?;
        check(&name)?;
        Ok(Self { name, extent })
    }
}

/// Why fields cannot be signed as asked.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum SelectionError {
    /// `From` is not among the fields (§5.4).
    #[error("From has to be signed")]
    FromMissing,
    /// A name that is no field name, or cannot stand in `h=`.
    #[error("a field name to sign is not usable in h=")]
    BadName,
    /// A name of more than [`MAX_SELECTABLE_NAME_LEN`] octets.
    #[error("a field name to sign is longer than {MAX_SELECTABLE_NAME_LEN} octets")]
    NameTooLong,
    /// More than [`MAX_SIGNED_FIELDS`] names, or more than [`MAX_FIELD_LIST_LEN`] octets of them.
    #[error(
        "the field names to sign are more than {MAX_SIGNED_FIELDS}, or longer than \
         {MAX_FIELD_LIST_LEN} octets together"
    )]
    TooMany,
}

/// A semicolon, which a field name may have, would end `h=`.
fn check(name: &FieldName) -> Result<(), SelectionError> {
    if name.as_str().contains(';') {
        Err(SelectionError::BadName)
    } else if name.as_str().len() > MAX_SELECTABLE_NAME_LEN {
        Err(SelectionError::NameTooLong)
    } else {
        Ok(())
    }
}

/// The classes, borrowed.
struct Classes<'s> {
    oversigned: &'s [FieldName],
    oversigned_if_present: &'s [FieldName],
    as_present: &'s [FieldPattern],
}

impl<'s> Classes<'s> {
    fn names(&self, header: &'s Header<'_>) -> Option<Vec<&'s str>> {
        let mut list = FieldList::default();
        for name in self.oversigned {
            for _ in 0..=header.count(name) {
                list.push(name.as_str())?;
            }
        }
        for name in self.oversigned_if_present {
            let count = header.count(name);
            if count > 0 {
                for _ in 0..=count {
                    list.push(name.as_str())?;
                }
            }
        }
        for field in header.fields() {
            let taken = |name: &&FieldName| name.matches(field.name());
            if self.oversigned.iter().chain(self.oversigned_if_present).any(|name| taken(&name)) {
                continue;
            }
            let Some(pattern) = self.as_present.iter().find(|p| p.matches(field.name())) else {
                continue;
            };
            let name = match pattern.extent {
                Extent::Whole => pattern.name.as_str(),
                // The message chose the name; one that cannot stand in `h=` is left out.
                Extent::Start => match str::from_utf8(field.name()) {
                    Ok(text) if FieldName::parse(text).is_ok_and(|name| check(&name).is_ok()) => {
                        text
                    }
                    Ok(_) | Err(_) => continue,
                },
            };
            if list.push(name).is_none() {
                break;
            }
        }
        Some(list.names)
    }
}

/// The names of `h=` as they come together, within their bounds.
struct FieldList<'s> {
    names: Vec<&'s str>,
    /// The octets of the names and of the colons between them.
    len: usize,
}

impl<'s> FieldList<'s> {
    /// Appends a name; none if there is no room for it.
    fn push(&mut self, name: &'s str) -> Option<()> {
        let colon = usize::from(!self.names.is_empty());
        let len = self.len + colon + name.len();
        if len > MAX_FIELD_LIST_LEN || self.names.len() == MAX_SIGNED_FIELDS {
            return None;
        }
        self.len = len;
        self.names.push(name);
        Some(())
    }
}

impl Default for FieldList<'_> {
    fn default() -> Self {
        Self { names: Vec::with_capacity(TYPICAL_NAMES), len: 0 }
    }
}

/// The fields of a header, for picking them by `h=`.
///
/// A header of usual size is searched from the bottom. A longer one is sorted by name first, so that
/// many signatures with long lists over many fields cost no more than a binary search for each name.
pub(crate) struct FieldIndex<'h, 'a> {
    fields: &'h [Field<'a>],
    /// By place, or by name and within a name from the top.
    entries: Vec<Entry>,
    /// How many names were compared to put the entries in order.
    names_compared: u64,
}

/// A field in the index.
#[derive(Clone, Copy)]
struct Entry {
    /// Decides most comparisons.
    start: u64,
    /// The place among the fields.
    place: u32,
}

impl<'h, 'a> FieldIndex<'h, 'a> {
    pub(crate) fn new(header: &'h Header<'a>) -> Self {
        let fields = header.as_slice();
        let mut entries: Vec<_> = (0_u32..)
            .zip(fields)
            .map(|(place, field)| Entry { start: start_of_name(field.name()), place })
            .collect();
        let mut names_compared = 0;
        if entries.len() > MAX_UNSORTED {
            entries.sort_by(|one, two| {
                names_compared += 1;
                compare(one.start, two.start, name_of(fields, *one), name_of(fields, *two))
            });
        }
        Self { fields, entries, names_compared }
    }

    /// The name of the field at this place.
    pub(crate) fn name_at(&self, place: usize) -> &'a [u8] {
        self.fields.get(place).map_or(b"", |field| field.name())
    }

    /// How many names were compared to make the index.
    pub(crate) fn names_compared(&self) -> u64 {
        self.names_compared
    }

    /// Starts to pick fields for a signature. One that is in the header already is not among those that its
    /// `h=` names (§3.5).
    pub(crate) fn picker_beside(&self, own_place: Option<usize>) -> FieldPicker<'_, 'h, 'a> {
        let picked = if self.entries.len() > MAX_UNSORTED {
            Picked::Counts(vec![0; self.entries.len()])
        } else {
            Picked::Places(0)
        };
        FieldPicker { index: self, picked, own_place, names_compared: 0 }
    }
}

/// Picks fields for one signature, from the bottom (§5.4.2).
pub(crate) struct FieldPicker<'i, 'h, 'a> {
    index: &'i FieldIndex<'h, 'a>,
    picked: Picked,
    own_place: Option<usize>,
    names_compared: u64,
}

enum Picked {
    /// A bit for each place, for entries by place.
    Places(u64),
    /// How many of a name were picked, at the entry where the name begins, for entries by name.
    Counts(Vec<u32>),
}

impl<'a> FieldPicker<'_, '_, 'a> {
    /// The lowest field of this name that was not picked yet.
    pub(crate) fn pick(&mut self, name: &[u8]) -> Option<Field<'a>> {
        let place = self.pick_place(name)?;
        self.index.fields.get(place).copied()
    }

    /// The same, by its place among the fields.
    pub(crate) fn pick_place(&mut self, name: &[u8]) -> Option<usize> {
        let place = self.next_place(name)?;
        if Some(place) == self.own_place { self.next_place(name) } else { Some(place) }
    }

    /// The place of the lowest field of this name that was not given yet.
    fn next_place(&mut self, name: &[u8]) -> Option<usize> {
        let FieldIndex { fields, entries, .. } = self.index;
        let start = start_of_name(name);
        let entry = match &mut self.picked {
            Picked::Places(picked) => {
                let is_wanted = |entry: &Entry| {
                    entry.start == start
                        && *picked >> entry.place & 1 == 0
                        && name_of(fields, *entry).eq_ignore_ascii_case(name)
                };
                let found = entries.iter().rposition(is_wanted);
                self.names_compared += (entries.len() - found.unwrap_or(0)) as u64;
                let entry = entries.get(found?)?;
                *picked |= 1 << entry.place;
                entry
            }
            Picked::Counts(counts) => {
                let compared = &mut self.names_compared;
                let mut order = |entry: &Entry| {
                    *compared += 1;
                    compare(entry.start, start, name_of(fields, *entry), name)
                };
                let first = entries.partition_point(|entry| order(entry) == Ordering::Less);
                let rest = entries.get(first..)?;
                let count = rest.partition_point(|entry| order(entry) == Ordering::Equal);
                let picked = counts.get_mut(first)?;
                let from_bottom = count.checked_sub(*picked as usize + 1)?;
                *picked += 1;
                rest.get(from_bottom)?
            }
        };
        Some(entry.place as usize)
    }

    /// How many names were compared to pick the fields.
    pub(crate) fn names_compared(&self) -> u64 {
        self.names_compared
    }
}

fn name_of<'a>(fields: &[Field<'a>], entry: Entry) -> &'a [u8] {
    fields.get(entry.place as usize).map_or(&[], |field| field.name())
}

/// The length of a name and its first octets, the same for names that differ in case only.
///
/// Setting the bit that tells the cases apart makes some other characters equal too; the order of
/// whole names settles those.
fn start_of_name(name: &[u8]) -> u64 {
    let mut octets = [0; 8];
    for (octet, of_name) in octets.iter_mut().zip(name) {
        *octet = of_name | 0x20;
    }
    u64::from_le_bytes(octets) ^ (name.len() as u64) << 56
}

/// Orders names without regard to case, if only in an order of its own.
fn compare(start_of_one: u64, start_of_two: u64, one: &[u8], two: &[u8]) -> Ordering {
    start_of_one.cmp(&start_of_two).then_with(|| {
        if one.eq_ignore_ascii_case(two) {
            return Ordering::Equal;
        }
        one.iter().map(u8::to_ascii_lowercase).cmp(two.iter().map(u8::to_ascii_lowercase))
    })
}

/// See [`FieldSelection::default`].
const DEFAULT: Classes<'static> = Classes {
    oversigned: &[
        FieldName::FROM,
        FieldName::literal("To"),
        FieldName::literal("Cc"),
        FieldName::literal("Subject"),
        FieldName::literal("Reply-To"),
        FieldName::literal("MIME-Version"),
        FieldName::literal("Content-Type"),
        FieldName::literal("Content-Transfer-Encoding"),
    ],
    oversigned_if_present: &[
        FieldName::literal("Date"),
        FieldName::literal("Message-ID"),
        FieldName::literal("List-Unsubscribe"),
        FieldName::literal("List-Unsubscribe-Post"),
    ],
    as_present: &[
        FieldPattern::literal("Sender"),
        FieldPattern::literal("In-Reply-To"),
        FieldPattern::literal("References"),
        FieldPattern::literal_start("List-"),
        FieldPattern::literal("Feedback-ID"),
        FieldPattern::literal_start("CFBL-"),
    ],
};

/// The longest field name in `h=`: it has to fit on a line of 78 columns behind a space and in front of
/// a colon (RFC 5322 §2.1.1).
pub const MAX_SELECTABLE_NAME_LEN: usize = 74;

/// The longest value of `h=` that is written, without white space. libopendkim 2.11 keeps so many octets
/// when it verifies and drops the names behind them, so that a signature over those fields fails there.
pub const MAX_FIELD_LIST_LEN: usize = 4095;

/// Up to how many fields a header is searched as it is. A bit of a word tells what was picked.
const MAX_UNSORTED: usize = 64;

/// Room for the names of most signatures.
const TYPICAL_NAMES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(selection: &FieldSelection, raw: &[u8]) -> String {
        selection.names(&Header::parse(raw).unwrap()).unwrap().join(":")
    }

    fn name(text: &str) -> FieldName {
        FieldName::parse(text).unwrap()
    }

    #[test]
    fn three_classes_are_listed_as_often_as_they_should() {
        let raw = b"Received: x\r\nReferences: 1\r\nlist-Foo: 1\r\nFROM: a\r\nTo: b\r\nTo: c\r\n\
            Date: d\r\nList-Unsubscribe: e\r\nList-Foo: 2\r\nSender: f\r\nbroken\r\nList-: g\r\n\
            List-a;b=c: h\r\n";
        assert_eq!(
            names(&FieldSelection::default(), raw),
            "From:From:To:To:To:Cc:Subject:Reply-To:MIME-Version:Content-Type:\
             Content-Transfer-Encoding:Date:Date:List-Unsubscribe:List-Unsubscribe:\
             References:list-Foo:List-Foo:Sender:List-"
        );
    }

    #[test]
    fn standard_classes_are_the_default() {
        let raw = b"From: a\r\nList-Id: b\r\nMessage-ID: c\r\nCFBL-Address: d\r\n";
        let by_class = FieldSelection::by_class(FieldClasses::standard()).unwrap();
        assert_eq!(names(&by_class, raw), names(&FieldSelection::default(), raw));
    }

    #[test]
    fn exact_lists_are_taken_as_written() {
        let exact =
            FieldSelection::exactly(["to", "FROM", "to", "X-None"].map(name).to_vec()).unwrap();
        assert_eq!(names(&exact, b"From: a\r\nTo: b\r\nTo: c\r\n"), "to:FROM:to:X-None");
    }

    #[test]
    fn lists_that_make_no_signature_are_refused() {
        let exactly = |names: &[&str]| {
            FieldSelection::exactly(names.iter().map(|text| name(text)).collect()).map(|_| ())
        };
        assert_eq!(exactly(&["To"]), Err(SelectionError::FromMissing));
        assert_eq!(exactly(&[]), Err(SelectionError::FromMissing));
        assert_eq!(exactly(&["From", "a;b"]), Err(SelectionError::BadName));
        assert_eq!(exactly(&["From", &"a".repeat(75)]), Err(SelectionError::NameTooLong));
        let many = |count| [&["From"][..], &vec!["x"; count - 1]].concat();
        assert_eq!(exactly(&many(MAX_SIGNED_FIELDS)), Ok(()));
        assert_eq!(exactly(&many(MAX_SIGNED_FIELDS + 1)), Err(SelectionError::TooMany));
        // From and 56 names of 72 octets: 4,093 octets with a colon behind each.
        let long = "x".repeat(72);
        let with = |last: &str| exactly(&[&["From"][..], &[&*long; 56], &[last]].concat());
        assert_eq!(with("ab"), Ok(()));
        assert_eq!(with("abc"), Err(SelectionError::TooMany));

        let classes = FieldClasses { oversigned: vec![name("To")], ..FieldClasses::default() };
        assert_eq!(FieldSelection::by_class(classes).unwrap_err(), SelectionError::FromMissing);
        for bad in ["", "*", "a b", "a;b", "a;*", "a:b*"] {
            assert!(bad.parse::<FieldPattern>().is_err(), "{bad:?}");
        }
        assert_eq!("List-*".parse::<FieldPattern>().unwrap().to_string(), "List-*");
    }

    #[test]
    fn what_no_longer_fits_is_left_out_or_ends_the_signature() {
        let many = |field: &str, count: usize| {
            let raw = format!("From: a\r\n{}", field.repeat(count));
            let selection = FieldSelection::default();
            let header = Header::parse(raw.as_bytes()).unwrap();
            let names = selection.names(&header);
            names.map(|names| (names.len(), names.join(":").len()))
        };
        // What is always there: `From:From:To:Cc:Subject:Reply-To:MIME-Version:Content-Type:` and the rest.
        let (fixed, len) = many("", 0).unwrap();
        // Sender is signed where it stands, and takes seven octets with its colon.
        let room = (MAX_FIELD_LIST_LEN - len) / "Sender:".len();
        for count in [0, room - 1, room] {
            let want = (fixed + count, len + count * "Sender:".len());
            assert_eq!(many("Sender: b\r\n", count), Some(want), "{count}");
        }
        assert_eq!(many("Sender: b\r\n", room + 1), many("Sender: b\r\n", room));
        // Subject is oversigned, and Date where it stands: they are covered as a whole or not at all.
        for (field, octets, signed) in [("Subject: b\r\n", 8, fixed), ("Date: b\r\n", 5, fixed + 1)]
        {
            let room = (MAX_FIELD_LIST_LEN - len - (signed - fixed) * octets) / octets;
            assert_eq!(many(field, room).unwrap().0, signed + room, "{field}");
            assert_eq!(many(field, room + 1), None, "{field}");
        }
        // The bound on names counts too.
        let classes = FieldClasses {
            oversigned: vec![FieldName::FROM],
            oversigned_if_present: vec![],
            as_present: vec![FieldPattern::literal("X")],
        };
        let short = FieldSelection::by_class(classes).unwrap();
        let raw = [&b"From: a\r\n"[..], &b"X: b\r\n".repeat(MAX_SIGNED_FIELDS)].concat();
        let header = Header::parse(&raw).unwrap();
        let names = short.names(&header).unwrap();
        assert_eq!(names.len(), MAX_SIGNED_FIELDS);
    }

    #[test]
    fn the_start_of_a_name_decides_most_comparisons() {
        let starts = [
            "From",
            "Date",
            "X",
            "XX",
            "X-Abcdef",
            "X-Abcdefg",
            "X-Abcdeo",
            "X-Abcdeog",
            "X-Spam-Score",
            "X-Spam-Status",
        ];
        for (place, one) in starts.iter().enumerate() {
            assert_eq!(start_of_name(one.as_bytes()), start_of_name(one.to_uppercase().as_bytes()));
            for two in starts.iter().skip(place + 1) {
                assert_ne!(
                    start_of_name(one.as_bytes()),
                    start_of_name(two.as_bytes()),
                    "{one} {two}"
                );
            }
        }
    }

    #[test]
    fn from_may_be_signed_by_each_class() {
        let classes = |oversigned: &[&str], if_present: &[&str], as_present: &[&str]| {
            let names = |texts: &[&str]| texts.iter().map(|text| name(text)).collect();
            FieldSelection::by_class(FieldClasses {
                oversigned: names(oversigned),
                oversigned_if_present: names(if_present),
                as_present: as_present.iter().map(|text| text.parse().unwrap()).collect(),
            })
        };
        let raw = b"From: a\r\nFor: b\r\nTo: c\r\n";
        for (selection, want) in [
            (classes(&["from"], &["To"], &[]), "from:from:To:To"),
            (classes(&["To"], &["FROM"], &["X"]), "To:To:FROM:FROM"),
            (classes(&["To"], &[], &["From"]), "To:To:From"),
            (classes(&[], &[], &["F*"]), "From:For"),
        ] {
            assert_eq!(names(&selection.unwrap(), raw), want);
        }
        for missing in [classes(&["To"], &["Cc"], &["X", "Fromm*", "Fr"]), classes(&[], &[], &[])] {
            assert_eq!(missing.unwrap_err(), SelectionError::FromMissing);
        }
        // Each class is checked.
        let long = "x".repeat(MAX_SELECTABLE_NAME_LEN + 1);
        for (bad, error) in
            [("a;b", SelectionError::BadName), (&*long, SelectionError::NameTooLong)]
        {
            assert_eq!(classes(&["From", bad], &[], &[]).unwrap_err(), error);
            assert_eq!(classes(&["From"], &[bad], &[]).unwrap_err(), error);
            assert_eq!(bad.parse::<FieldPattern>().unwrap_err(), error);
        }
    }

    #[test]
    fn fields_are_picked_from_the_bottom() {
        // The same in a header of usual size and in one that is sorted.
        for fill in [0, MAX_UNSORTED - 7, MAX_UNSORTED - 6, MAX_UNSORTED] {
            let fields = b"A: 1\r\nB: 2\r\na: 3\r\nAB: 4\r\nA : 5\r\nnone\r\nLong-Name-1: 6\r\n";
            let raw = [&b"Long-Name-2:\r\n".repeat(fill)[..], fields].concat();
            let header = Header::parse(&raw).unwrap();
            let index = FieldIndex::new(&header);
            let mut picker = index.picker_beside(None);

            let cases = [
                ("a", Some(" 5")),
                ("A", Some(" 3")),
                ("b", Some(" 2")),
                ("a", Some(" 1")),
                ("a", None),
                ("b", None),
                ("x", None),
                ("AB", Some(" 4")),
                ("long-name-1", Some(" 6")),
                ("long-name-1", None),
                ("long-name-3", None),
            ];
            for (name, want) in cases {
                let value = picker.pick(name.as_bytes()).map(|field| field.value());
                assert_eq!(value, want.map(str::as_bytes), "{name} {fill}");
            }
        }
    }
}
