# The main commands. Everything they make lies in target/ and build/.

.PHONY: demo test bench bench-dkim soak fuzz fuzz-planted mutants peers lint

# Builds Postseal and runs its main job on real messages, end to end.
demo:
	cargo build --locked --release -p postseal-server -p postseal-testkit
	target/release/postseal-demo

# Installs what the tests need and runs them all; says how long each stage took.
test:
	@tests/all

# What a message costs in Postseal, beside what its signature costs and beside other filters; `make bench BENCH=--quick` is short.
bench:
	cargo build --locked --release -p postseal-server -p postseal-testkit
	target/release/postseal-bench $(BENCH)
	@echo 'The library alone, beside other DKIM libraries: make bench-dkim'

# What a message costs in the DKIM library, beside other libraries; `make bench-dkim BENCH=--quick` is short.
bench-dkim:
	bench/run $(BENCH)

# The long figures of what `make test` does for seconds: a million messages with a thousand kills, a million damaged messages.
# Takes hours. Prints duration and seed; POSTSEAL_SEED, POSTSEAL_MUTANTS, POSTSEAL_MUTANTS_SENT, POSTSEAL_MUTANTS_JUDGED,
# POSTSEAL_KILL_MESSAGES and POSTSEAL_KILLS set one figure each.
soak: peers
	POSTSEAL_SOAK=1 cargo test --locked -p postseal-server --test mutants --test kills --test counts -- --nocapture --test-threads 1

# Fuzzes each parser and session for ten minutes, and says how many executions that were (docs/fuzzing.md). FUZZ_SECONDS and
# FUZZ_TARGETS set how long and which; a run goes on where the last one ended.
fuzz:
	fuzz/run

# Shows that each fuzz target finds a mistake that was made for it, within 30 s.
fuzz-planted:
	fuzz/planted

# Changes one thing at a time in crates/dkim and fails if no test notices. Takes hours; goes on where it stopped. MUTANTS_SHARD=1/4 does a quarter.
mutants:
	@tests/mutants

# Only what the tests compare Postseal with: MTA, verifiers, real messages. For running single tests with cargo.
peers:
	tests/install-peers

# What a change has to pass before its tests are worth running.
lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	tests/purity
