//! What of this processor the crypto library can use.

use std::fs;

/// A processor.
pub(super) struct Cpu {
    /// As it calls itself.
    pub(super) model: String,
    /// The instructions that matter here, and whether they are there.
    pub(super) features: Vec<(&'static str, bool)>,
    /// What hides instructions from the crypto library, if anything does.
    pub(super) mask: Option<String>,
}

impl Cpu {
    pub(super) fn of_this_machine() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.trim_end() == "model name")
            .map_or("a processor without a name", |(_, value)| value.trim());
        Self {
            model: model.to_owned(),
            features: features(),
            mask: std::env::var("OPENSSL_ia32cap").ok(),
        }
    }

    /// Which code the RSA of the crypto library takes, if nothing is masked.
    pub(super) fn rsa(&self) -> &'static str {
        if cfg!(not(target_arch = "x86_64")) {
            "what the crypto library has for this kind of processor"
        } else if self.has("avx512ifma") {
            "AVX-512 IFMA, the fastest there is"
        } else if self.has("adx") && self.has("bmi2") {
            "BMI2 and ADX, less than half as fast as with AVX-512 IFMA"
        } else {
            "general registers, the slowest"
        }
    }

    /// Which code SHA-256 takes.
    pub(super) fn sha256(&self) -> &'static str {
        if self.has("sha_ni") || self.has("sha2") {
            "in hardware"
        } else {
            "in software, some four times slower than in hardware"
        }
    }

    fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|(name, is_there)| *name == feature && *is_there)
    }
}

/// By their names in `/proc/cpuinfo`.
#[cfg(target_arch = "x86_64")]
fn features() -> Vec<(&'static str, bool)> {
    use std::arch::is_x86_feature_detected as detected;
    vec![
        ("avx512ifma", detected!("avx512ifma")),
        ("avx2", detected!("avx2")),
        ("bmi2", detected!("bmi2")),
        ("adx", detected!("adx")),
        ("sha_ni", detected!("sha")),
    ]
}

/// By their names in `/proc/cpuinfo`.
#[cfg(target_arch = "aarch64")]
fn features() -> Vec<(&'static str, bool)> {
    vec![("sha2", std::arch::is_aarch64_feature_detected!("sha2"))]
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn features() -> Vec<(&'static str, bool)> {
    Vec::new()
}
