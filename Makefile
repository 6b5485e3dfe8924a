# The main commands. Everything they make lies in target/ and build/.

.PHONY: demo test peers lint

# Builds Postseal and runs its main job on real messages, end to end.
demo:
	cargo build --locked --release -p postseal-server -p postseal-testkit
	target/release/postseal-demo

# Installs what the tests need and runs them all; says how long each stage took.
test:
	@tests/all

# Only what the tests compare Postseal with: MTA, verifiers, real messages. For running single tests with cargo.
peers:
	tests/install-peers

# What a change has to pass before its tests are worth running.
lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	tests/purity
