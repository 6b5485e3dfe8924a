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

use crate::field::{Field, FieldName, Header, start_of_name};
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
/// Gmail's feedback loop for Feedback-ID, the Certified Senders Alliance for X-CSA-Complaints.
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
    /// Of a long header, by name and within a name from the top.
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
        let mut entries = Vec::new();
        let mut names_compared = 0;
        if fields.len() > MAX_UNSORTED {
            entries.extend(
                (0..)
                    .zip(fields)
                    .map(|(place, field)| Entry { start: field.start_of_name(), place }),
            );
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
        let picked = if self.entries.is_empty() {
            Picked::Places(0)
        } else {
            Picked::Counts(vec![0; self.entries.len()])
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
    /// A bit for each place.
    Places(u64),
    /// How many of a name were picked, at the entry where the name begins.
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
        match &mut self.picked {
            Picked::Places(picked) => {
                let is_wanted = |(place, field): (usize, &Field<'_>)| {
                    field.start_of_name() == start
                        && *picked >> place & 1 == 0
                        && field.name().eq_ignore_ascii_case(name)
                };
                let found = fields.iter().enumerate().rposition(is_wanted);
                self.names_compared += (fields.len() - found.unwrap_or(0)) as u64;
                *picked |= 1 << found?;
                found
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
                rest.get(from_bottom).map(|entry| entry.place as usize)
            }
        }
    }

    /// How many names were compared to pick the fields.
    pub(crate) fn names_compared(&self) -> u64 {
        self.names_compared
    }
}

fn name_of<'a>(fields: &[Field<'a>], entry: Entry) -> &'a [u8] {
    fields.get(entry.place as usize).map_or(&[], |field| field.name())
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
        FieldPattern::literal("X-CSA-Complaints"),
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
mod tests;
