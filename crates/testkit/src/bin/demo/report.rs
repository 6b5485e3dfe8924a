//! What became of a message, and whether that is what the rule says.

use serde_json::Value;

/// What has to become of a message.
pub(crate) enum Expected {
    /// Signed by this row, with these signing domains, uppermost first.
    Signed { row: u64, signing_domains: &'static [&'static str] },
    /// Refused with this reply code, and nothing delivered.
    Refused { reply: u16 },
}

/// What became of it.
pub(crate) struct Outcome {
    /// What the one who sent it was told.
    pub(crate) reply: String,
    /// Postseal's own line about it.
    pub(crate) decision: Value,
    /// What arrived, with the output of `postseal verify`; none if nothing did.
    pub(crate) delivered: Option<Delivered>,
}

/// A message that arrived.
pub(crate) struct Delivered {
    /// The values of its `DKIM-Signature` fields, from the top.
    pub(crate) signatures: Vec<String>,
    /// The lines of `postseal verify`, one a signature.
    pub(crate) verdicts: Vec<String>,
}

/// Prints an outcome; says whether it is the expected one.
pub(crate) fn print(outcome: &Outcome, expected: &Expected) -> bool {
    let decision = &outcome.decision;
    println!("   reply:   {}", outcome.reply);
    let row = decision["row"].as_u64().map_or("none".to_owned(), |row| row.to_string());
    println!("   row:     {row} ({})", text(decision, "why"));
    if let Some(delivered) = &outcome.delivered {
        for signature in &delivered.signatures {
            println!("   DKIM-Signature:{}", signature.replace("\r\n", "\n            "));
        }
        for verdict in &delivered.verdicts {
            println!("   verify:  {verdict}");
        }
    }
    let mistakes = mistakes(outcome, expected);
    for mistake in &mistakes {
        println!("   WRONG:   {mistake}");
    }
    mistakes.is_empty()
}

fn mistakes(outcome: &Outcome, expected: &Expected) -> Vec<String> {
    let mut mistakes = Vec::new();
    match (expected, &outcome.delivered) {
        (Expected::Signed { .. }, None) => mistakes.push("nothing arrived".to_owned()),
        (Expected::Refused { .. }, Some(_)) => mistakes.push("it was delivered".to_owned()),
        (Expected::Refused { reply }, None) => {
            if !outcome.reply.starts_with(&reply.to_string()) {
                mistakes.push(format!("the reply is not a {reply}"));
            }
        }
        (Expected::Signed { row, signing_domains }, Some(delivered)) => {
            if outcome.decision["row"].as_u64() != Some(*row) {
                mistakes.push(format!("row {row} should have decided"));
            }
            let verified: Vec<_> = delivered
                .verdicts
                .iter()
                .map(|line| {
                    let mut words = line.split_ascii_whitespace();
                    (words.next(), words.next().and_then(|word| word.strip_prefix("d=")))
                })
                .collect();
            let wanted: Vec<_> =
                signing_domains.iter().map(|domain| (Some("pass"), Some(*domain))).collect();
            if verified != wanted {
                mistakes.push(format!("these should pass, and no others: {signing_domains:?}"));
            }
        }
    }
    mistakes
}

fn text<'a>(line: &'a Value, name: &str) -> &'a str {
    line[name].as_str().unwrap_or("-")
}
