//! The ARC sets of a header, and the rules of their structure (RFC 8617 §5.2, steps 1 to 3).

use std::fmt;

use super::instance::{Instance, MAX_SETS};
use super::report::ArcFailure;
use crate::field::{Field, FieldName, Header};
use crate::tag_list::TagList;

/// One of the three fields of a set, in the order in which a seal covers them (RFC 8617 §5.1.1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ArcField {
    /// What the handler found.
    AuthenticationResults,
    /// Its signature over the message.
    MessageSignature,
    /// Its seal over the chain.
    Seal,
}

impl ArcField {
    /// All three, in their order.
    pub const ALL: [Self; 3] = [Self::AuthenticationResults, Self::MessageSignature, Self::Seal];

    /// The name of the field.
    #[must_use]
    pub const fn field_name(self) -> FieldName {
        match self {
            Self::AuthenticationResults => FieldName::ARC_AUTHENTICATION_RESULTS,
            Self::MessageSignature => FieldName::ARC_MESSAGE_SIGNATURE,
            Self::Seal => FieldName::ARC_SEAL,
        }
    }

    /// Which of the three a field is, if it is one.
    fn of(field: Field<'_>) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| field.is_named(&kind.field_name()))
    }

    fn instance(self, field: Field<'_>) -> Option<Instance> {
        match self {
            Self::AuthenticationResults => Instance::of_results(field.value()),
            Self::MessageSignature | Self::Seal => Instance::of_tag_list(field.value()),
        }
    }
}

impl fmt::Display for ArcField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.field_name().as_str())
    }
}

/// What a sealer says that it found of the chain before its own set, `cv=` (RFC 8617 §4.4).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ChainStatus {
    /// There was no chain.
    None,
    /// The chain verified.
    Pass,
    /// The chain did not verify.
    Fail,
}

impl ChainStatus {
    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
        }
    }

    /// Reads `cv=` of a seal. Strings in ABNF ignore case (RFC 5234 §2.3).
    fn of_seal(field: Field<'_>) -> Option<Self> {
        let tags = TagList::parse(field.value()).ok()?;
        let word = tags.value("cv")?;
        [Self::None, Self::Pass, Self::Fail]
            .into_iter()
            .find(|status| status.as_str().eq_ignore_ascii_case(word))
    }
}

impl fmt::Display for ChainStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A field and its place among [`Header::fields`].
#[derive(Clone, Copy)]
pub(super) struct Placed<'a> {
    pub(super) place: usize,
    pub(super) field: Field<'a>,
}

/// A whole set.
#[derive(Clone, Copy)]
pub(super) struct ArcSet<'a> {
    pub(super) instance: Instance,
    pub(super) results: Placed<'a>,
    pub(super) message_signature: Placed<'a>,
    pub(super) seal: Placed<'a>,
}

/// The sets of a header from the first on, if they have the structure of a chain; empty without any
/// ARC field.
pub(super) fn sets<'a>(header: &Header<'a>) -> Result<Vec<ArcSet<'a>>, ArcFailure> {
    let mut slots = Slots::collect(header)?;
    let Some(newest) = slots.newest() else {
        // Nothing has an instance: either there is nothing, or nothing that can be read.
        return slots.flaw.map_or(Ok(Vec::new()), Err);
    };
    // Step 2 goes before the structure, since a sealer that meets a broken one says `cv=fail`.
    if slots.status(newest) == Some(ChainStatus::Fail) {
        return Err(ArcFailure::SealedAsFailed { instance: newest });
    }
    if let Some(flaw) = slots.flaw.take() {
        return Err(flaw);
    }
    let sets = Instance::all()
        .take_while(|instance| *instance <= newest)
        .map(|instance| slots.set(instance))
        .collect::<Result<Vec<_>, _>>()?;
    for set in &sets {
        let want =
            if set.instance == Instance::FIRST { ChainStatus::None } else { ChainStatus::Pass };
        let found = ChainStatus::of_seal(set.seal.field);
        if found != Some(want) {
            return Err(ArcFailure::WrongStatus { instance: set.instance, found });
        }
    }
    Ok(sets)
}

/// The ARC fields of a header by instance and kind.
struct Slots<'a> {
    /// At place n those of instance n + 1, in the order of [`ArcField::ALL`].
    sets: Vec<[Option<Placed<'a>>; 3]>,
    /// The first field that fits nowhere, from the top.
    flaw: Option<ArcFailure>,
}

impl<'a> Slots<'a> {
    /// Puts each ARC field into its slot. None is read where there are more than [`MAX_SETS`] of a kind.
    fn collect(header: &Header<'a>) -> Result<Self, ArcFailure> {
        if ArcField::ALL.iter().any(|kind| header.count(&kind.field_name()) > MAX_SETS) {
            return Err(ArcFailure::TooManySets);
        }
        let mut this = Self { sets: vec![[None; 3]; MAX_SETS], flaw: None };
        for (place, field) in header.fields().enumerate() {
            let Some(kind) = ArcField::of(field) else { continue };
            let Some(instance) = kind.instance(field) else {
                this.flaw.get_or_insert(ArcFailure::BadInstance { field: kind });
                continue;
            };
            match this.slot(instance, kind) {
                Some(slot @ None) => *slot = Some(Placed { place, field }),
                Some(Some(_)) | None => {
                    let flaw = ArcFailure::DuplicateField { instance, field: kind };
                    this.flaw.get_or_insert(flaw);
                }
            }
        }
        Ok(this)
    }

    fn slot(&mut self, instance: Instance, kind: ArcField) -> Option<&mut Option<Placed<'a>>> {
        self.sets.get_mut(usize::from(instance.get()) - 1)?.get_mut(kind as usize)
    }

    fn of(&self, instance: Instance) -> [Option<Placed<'a>>; 3] {
        self.sets.get(usize::from(instance.get()) - 1).copied().unwrap_or_default()
    }

    /// The highest instance of any field.
    fn newest(&self) -> Option<Instance> {
        Instance::all().rev().find(|instance| self.of(*instance).iter().any(Option::is_some))
    }

    fn status(&self, instance: Instance) -> Option<ChainStatus> {
        let [_, _, seal] = self.of(instance);
        ChainStatus::of_seal(seal?.field)
    }

    fn set(&self, instance: Instance) -> Result<ArcSet<'a>, ArcFailure> {
        match self.of(instance) {
            [Some(results), Some(message_signature), Some(seal)] => {
                Ok(ArcSet { instance, results, message_signature, seal })
            }
            [None, None, None] => Err(ArcFailure::MissingSet { instance }),
            [None, _, _] => Err(missing(instance, ArcField::AuthenticationResults)),
            [_, None, _] => Err(missing(instance, ArcField::MessageSignature)),
            [_, _, None] => Err(missing(instance, ArcField::Seal)),
        }
    }
}

fn missing(instance: Instance, field: ArcField) -> ArcFailure {
    ArcFailure::MissingField { instance, field }
}
