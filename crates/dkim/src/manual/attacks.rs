//! Known attacks on DKIM, what holds against each here, and the test that would notice if it did not.
//!
//! | attack | defence | test |
//! |---|---|---|
//! | Text appended behind `l=` (§8.2) | `l=` is never written; a verifier says how many octets are uncovered | `a_length_leaves_the_rest_of_the_body_open` |
//! | A second From or Subject on top of the signed one (§8.15) | the signer oversigns them, and refuses a message with two From; fields are picked from the bottom | vectors `oversigned_*`, `bottom_up_*` |
//! | Tags or lines smuggled in by a setting | settings are parsed values; `;` in a field name is refused; `i=` is encoded | `no_setting_brings_in_a_tag_or_a_line` |
//! | A field rewritten by the verifier before it is hashed | the octets received are hashed, with `b=` cut out of them | `the_value_of_b_is_cut_out_and_nothing_else` |
//! | `d=badexample.com` with `i=@example.com`, or `i=` above `d=` (§3.5) | names are compared label by label | `every_broken_rule_has_its_error` |
//! | A tag given twice, read differently by two programs (§3.2) | the list is invalid | `rejects_what_the_grammar_forbids` |
//! | Weak keys and SHA-1 (RFC 8301) | reported as `policy`, never `pass`; not offered for signing | vectors `rsa512`, `rsa768`, `rsa_sha1` |
//! | Keys that cost a verifier much: a long modulus, a long exponent | bounded before the key is used | `numbers_of_rsa_keys_are_bounded` |
//! | Hundreds of signatures or key records in one message | bounded; aligned signatures first | `the_bound_goes_to_aligned_signatures_first` |
//! | Long headers with long `h=` (many look-ups) | a sorted index, and bounds on fields, names and tags | `fields_are_picked_from_the_bottom` |
//! | A body whose hash depends on how it arrives in chunks | counts are held back, never guesses | `bodies_agree` |
//! | A bare CR or LF read as a line end by one side only | they are ordinary octets | `cuts_at_field_bounds_only`, `bodies_agree` |
//! | Octets of a sender that add a result to Authentication-Results (CVE-2020-12272) | written from types, quoted; what has two readings is not read | `a_sender_adds_nothing_to_the_results`, `what_has_two_readings_is_no_result` |
//! | Replay of a signed message | `x=` is written by the service, and checked | `a_signature_expires_behind_its_last_second` |
//! | ARC chains with gaps, repeats or more than 50 sets, seals over less than all, many keys or body hashes (RFC 8617) | the structure is settled first; sets and key names are bounded, and a body is hashed once for each hash function and canonicalization | `chains_with_one_labelled_fault_are_judged_as_labelled`, `fifty_lengths_of_a_body_are_hashed_in_one_pass` |
