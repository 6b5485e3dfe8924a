//! What the manual of the project says of this crate: all codes, on which programs rely, and the default fields.

use std::collections::HashSet;
use std::path::PathBuf;

use postseal_dkim::tag_list::TagListError;
use postseal_dkim::{
    FieldClasses, FieldName, KeyRecordError, NameError, Outcome, PublicKeyError, Remarks,
    SignatureError,
};

/// What is signed unless an operator says otherwise stands where operators look.
#[test]
#[expect(clippy::disallowed_methods, reason = "the manual is a file")]
fn the_default_fields_are_in_the_manual() {
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let FieldClasses { oversigned, oversigned_if_present, as_present } = FieldClasses::standard();
    let names = |names: &[FieldName]| names.iter().map(FieldName::to_string).collect::<Vec<_>>();
    for (list, names) in [
        ("oversign", names(&oversigned)),
        ("oversign_if_present", names(&oversigned_if_present)),
        ("sign", as_present.iter().map(ToString::to_string).collect()),
    ] {
        let row = format!("| `{list}` | {} |", names.join(", "));
        assert!(manual.contains(&row), "{row} is not in the manual");
    }
}

/// Each test and each vector that the table of attacks names is there.
#[test]
#[expect(clippy::disallowed_methods, reason = "the sources are files")]
fn the_tests_against_attacks_are_there() {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let read = |path: &str| std::fs::read_to_string(format!("{own}{path}")).unwrap();
    let attacks = read("src/manual/attacks.rs");
    let sources = [sources_in("src"), sources_in("tests")].concat().concat();
    let mut names = 0;
    for row in attacks.lines().filter(|line| line.starts_with("//! | ")).skip(1) {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        for name in tests.split('`').skip(1).step_by(2) {
            let is_test = sources.contains(&format!("fn {name}("));
            let start = name.trim_end_matches('*');
            let folder = std::fs::read_dir(format!("{own}testdata/vectors")).unwrap();
            let mut vectors = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            assert!(is_test || vectors.any(|vector| vector.starts_with(start)), "no test {name}");
            names += 1;
        }
    }
    assert!(names >= 15, "{names}");
}

/// So that no new one can be left out of the tests below and of the manual at once, the
/// codes are those of the source: the texts in each function that gives one.
#[test]
#[expect(clippy::disallowed_methods, reason = "the manual is a file")]
fn every_code_in_the_source_is_in_the_manual() {
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/verify.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let codes: Vec<_> = sources_in("src").iter().flat_map(|source| codes_in(source)).collect();
    // As many as there are today, at least: the search finds them.
    assert!(codes.len() >= 72, "{}: {codes:?}", codes.len());
    for code in codes {
        assert!(manual.contains(&format!("| `{code}` |")), "{code} is not in the manual");
    }
}

/// Those of a chain stand in a table of their own, with their result.
#[test]
#[expect(clippy::disallowed_methods, reason = "the source and the manual are files")]
fn every_code_of_a_chain_is_in_the_manual_with_its_result() {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/src/arc/report.rs");
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/verify.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let (_, of_chains) = manual.split_once("\n# postseal arc-verify\n").unwrap();
    let codes = codes_in(&std::fs::read_to_string(own).unwrap());
    assert!(codes.len() >= 11, "{codes:?}");
    for code in codes {
        let result = match &*code {
            "verified" => "pass",
            "no-set" => "none",
            _ => "fail",
        };
        let row = format!("| `{code}` | `{result}` |");
        assert!(of_chains.contains(&row), "{row} is not in the manual");
    }
}

/// The texts of all source files in a folder of this crate.
#[expect(clippy::disallowed_methods, reason = "the sources are files")]
fn sources_in(folder: &str) -> Vec<String> {
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(std::fs::read_to_string(path).expect("a text"));
            }
        }
    }
    sources
}

fn codes_in(source: &str) -> Vec<String> {
    let functions = source.split("pub ").filter(|text| {
        let text = text.strip_prefix("const ").unwrap_or(text);
        text.starts_with("fn code(&self)") || text.starts_with("fn codes(&self)")
    });
    functions
        .filter_map(|text| text.split("\n    }\n").next())
        .flat_map(|body| body.split('"').skip(1).step_by(2).map(str::to_owned))
        .collect()
}

/// Each is in the manual with its outcome, and none is there twice.
#[test]
#[expect(clippy::disallowed_methods, reason = "the manual is a file")]
fn every_code_is_in_the_manual() {
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/verify.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let mut seen = HashSet::new();
    for outcome in outcomes() {
        let code = outcome.code();
        assert!(seen.insert(code), "{code} twice");
        let row = format!("| `{code}` | `{}` |", outcome.result());
        assert!(manual.contains(&row), "{row} is not in the manual");
    }
    let causes: Vec<_> = outcomes_with_causes().iter().filter_map(Outcome::cause).collect();
    assert_eq!(causes.len(), outcomes_with_causes().len());
    for cause in causes {
        assert!(manual.contains(&format!("| `{cause}` |")), "{cause} is not in the manual");
    }
    let remarks = Remarks { uncovered: Some(1), is_testing: true, is_from_future: true }.codes();
    for remark in remarks.collect::<Vec<_>>() {
        assert!(manual.contains(&format!("| `{remark}` |")), "{remark} is not in the manual");
    }
}

fn outcomes() -> Vec<Outcome> {
    vec![
        Outcome::Verified(Remarks::default()),
        Outcome::BodyHashMismatch,
        Outcome::BodyCut,
        Outcome::SignatureMismatch,
        Outcome::Sha1,
        Outcome::ShortKey { bits: 512 },
        Outcome::Malformed(SignatureError::BadVersion),
        Outcome::LengthBeyondBody,
        Outcome::Expired,
        Outcome::NoKey,
        Outcome::BadKeyRecord(KeyRecordError::Revoked),
        Outcome::KeyTypeMismatch,
        Outcome::HashNotAllowed,
        Outcome::NotForEmail,
        Outcome::IdentityNotExact,
        Outcome::KeyTimeout,
        Outcome::KeyServerFailure,
        Outcome::NotAnswered,
        Outcome::NotChecked,
    ]
}

fn outcomes_with_causes() -> Vec<Outcome> {
    let lists = [
        TagListError::NotUtf8,
        TagListError::BadFolding,
        TagListError::BadName,
        TagListError::BadValue,
        TagListError::DuplicateName,
        TagListError::NoEqualsSign,
        TagListError::TooManyTags,
    ];
    let signatures = [
        SignatureError::MissingTag("d"),
        SignatureError::BadVersion,
        SignatureError::UnknownAlgorithm,
        SignatureError::BadBase64("b"),
        SignatureError::BadCanonicalization,
        SignatureError::BadDomain(NameError::Empty),
        SignatureError::SingleLabel,
        SignatureError::BadSelector(NameError::Empty),
        SignatureError::BadFieldList,
        SignatureError::TooManyFields,
        SignatureError::FromNotSigned,
        SignatureError::BadIdentity,
        SignatureError::IdentityOutsideDomain,
        SignatureError::BadBodyLength,
        SignatureError::UnknownQueryMethod,
        SignatureError::BadTime("t"),
        SignatureError::ExpiresBeforeSigned,
    ];
    let keys = [
        PublicKeyError::NotRsaDer,
        PublicKeyError::RsaTooLong,
        PublicKeyError::RsaTooShort { bits: 8 },
        PublicKeyError::BadExponent,
        PublicKeyError::EvenModulus,
        PublicKeyError::BadEd25519Length { octets: 1 },
    ];
    let records = [
        KeyRecordError::TooLong,
        KeyRecordError::BadVersion,
        KeyRecordError::VersionNotFirst,
        KeyRecordError::UnknownKeyType,
        KeyRecordError::NoKey,
        KeyRecordError::Revoked,
        KeyRecordError::NotBase64,
    ];
    let in_lists = lists.map(|error| Outcome::Malformed(SignatureError::TagList(error)));
    let in_records = records
        .into_iter()
        .chain(lists.map(KeyRecordError::TagList))
        .chain(keys.map(KeyRecordError::BadKey));
    in_lists
        .into_iter()
        .chain(signatures.map(Outcome::Malformed))
        .chain(in_records.map(Outcome::BadKeyRecord))
        .collect()
}
