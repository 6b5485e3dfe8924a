//! Where the master key comes from, and the file that the first start makes.
//!
//! Three places are looked at, in this order, and the first that is there counts; a place that is there and
//! holds nonsense is an error and never skipped, since the next place would hold another key:
//!
//! 1. the systemd credential `postseal-master-key` (`LoadCredential=` or `LoadCredentialEncrypted=`), in
//!    the folder that `CREDENTIALS_DIRECTORY` names;
//! 2. the environment variable `POSTSEAL_MASTER_KEY`;
//! 3. the file in the data folder.
//!
//! The file must be readable by its owner alone. A credential isn't checked so: systemd guards its folder,
//! and shows the mask of an access list as group rights.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::master_key::{MasterKey, MasterKeyTextError};
use crate::signing_key::GenerateError;

/// Where a master key was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MasterKeySource {
    /// A systemd credential, in that file.
    Credential(PathBuf),
    /// The environment variable [`MASTER_KEY_VARIABLE`].
    Environment,
    /// A file.
    File(PathBuf),
}

impl fmt::Display for MasterKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(path) => write!(f, "the systemd credential {}", path.display()),
            Self::Environment => write!(f, "the environment variable {MASTER_KEY_VARIABLE}"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl MasterKey {
    /// Looks for the master key in the environment and in `file`; none if it is nowhere.
    ///
    /// `variable` answers what an environment variable holds, as [`std::env::var_os`] does.
    pub fn find(
        variable: impl Fn(&str) -> Option<OsString>,
        file: &Path,
    ) -> Result<Option<(Self, MasterKeySource)>, MasterKeyError> {
        if let Some(folder) = variable(CREDENTIALS_VARIABLE) {
            let path = Path::new(&folder).join(MASTER_KEY_CREDENTIAL);
            if let Some(contents) = read(&path, Mode::Any)? {
                let source = MasterKeySource::Credential(path);
                return parsed(Self::from_file_contents(&contents), source).map(Some);
            }
        }
        if let Some(text) = variable(MASTER_KEY_VARIABLE) {
            let text = Zeroizing::new(text.into_encoded_bytes());
            let key = match std::str::from_utf8(&text) {
                Ok(text) => Self::from_text(text),
                Err(_) => Err(MasterKeyTextError::Form),
            };
            return parsed(key, MasterKeySource::Environment).map(Some);
        }
        match read(file, Mode::OwnerOnly)? {
            Some(contents) => {
                let source = MasterKeySource::File(file.to_owned());
                parsed(Self::from_file_contents(&contents), source).map(Some)
            }
            None => Ok(None),
        }
    }

    /// Reads the master key from a file that only its owner may read.
    pub fn from_file(path: &Path) -> Result<Self, MasterKeyError> {
        let contents = read(path, Mode::OwnerOnly)?
            .ok_or_else(|| MasterKeyError::Missing { path: path.to_owned() })?;
        let source = MasterKeySource::File(path.to_owned());
        parsed(Self::from_file_contents(&contents), source).map(|(key, _)| key)
    }

    /// Makes a master key and a file for it, mode 0600; never replaces a file.
    ///
    /// When this returns, the file is on disk whole, and at no time is it there in part: it gets its name
    /// after it was written.
    pub fn create_file(path: &Path) -> Result<Self, MasterKeyError> {
        let key = Self::generate()?;
        let failed = |source| MasterKeyError::Write { path: path.to_owned(), source };
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            Some(_) | None => Path::new("."),
        };
        let mut draft = path.as_os_str().to_owned();
        draft.push(format!(".{}.new", std::process::id()));
        let draft = PathBuf::from(draft);

        write_new(&draft, key.expose_text().as_bytes()).map_err(failed)?;
        // Unlike rename, link never takes the place of another file.
        let linked = fs::hard_link(&draft, path);
        let removed = fs::remove_file(&draft);
        match linked {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(MasterKeyError::Exists { path: path.to_owned() });
            }
            Err(error) => return Err(failed(error)),
        }
        removed.map_err(failed)?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(key)
    }
}

/// Why there is no master key. The operator can mend each of these.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MasterKeyError {
    /// No file of that name.
    #[error("there is no master key at {}; put it back from its backup", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file is there, and can't be read.
    #[error("the master key {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than the owner may read or write it.
    #[error(
        "others can get at the master key {path} (mode {mode:04o}); run: chmod 600 '{path}'",
        path = path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// What is there is no master key.
    #[error("the master key in {location} cannot be used")]
    Unusable {
        /// Where it is.
        location: MasterKeySource,
        /// What is wrong with it.
        source: MasterKeyTextError,
    },
    /// A file that would have to be replaced.
    #[error("{} is there already, and a master key is never replaced", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file can't be written.
    #[error("the master key {} cannot be written", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No randomness.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

/// Whether the permission bits of a file matter.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Mode {
    Any,
    OwnerOnly,
}

fn parsed(
    key: Result<MasterKey, MasterKeyTextError>,
    location: MasterKeySource,
) -> Result<(MasterKey, MasterKeySource), MasterKeyError> {
    match key {
        Ok(key) => Ok((key, location)),
        Err(source) => Err(MasterKeyError::Unusable { location, source }),
    }
}

/// Reads a small file; none if it is not there.
fn read(path: &Path, mode: Mode) -> Result<Option<Zeroizing<Vec<u8>>>, MasterKeyError> {
    let failed = |source| MasterKeyError::Read { path: path.to_owned(), source };
    // A FIFO or a folder in its place must not stop the start: the type is looked at first.
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(failed(io::Error::other("it is not a regular file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    let file = File::open(path).map_err(failed)?;
    // Of the open file, so that nobody can change it in between.
    let bits = file.metadata().map_err(failed)?.mode() & 0o7777;
    if mode == Mode::OwnerOnly && bits & 0o077 != 0 {
        return Err(MasterKeyError::Exposed { path: path.to_owned(), mode: bits });
    }
    let mut contents = Zeroizing::new(Vec::with_capacity(MAX_FILE_LEN));
    file.take(MAX_FILE_LEN as u64).read_to_end(&mut contents).map_err(failed)?;
    Ok(Some(contents))
}

/// Writes a file that must not exist, readable by its owner alone, through to the disk.
fn write_new(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(contents).and_then(|()| file.sync_all());
    if written.is_err() {
        // Ours and useless; the error of the write is the one that counts.
        let _ = fs::remove_file(path);
    }
    written
}

/// The environment variable that may hold the master key as text.
pub const MASTER_KEY_VARIABLE: &str = "POSTSEAL_MASTER_KEY";

/// The name of the systemd credential that may hold the master key.
pub const MASTER_KEY_CREDENTIAL: &str = "postseal-master-key";

/// Where systemd puts credentials (systemd.exec, `LoadCredential=`).
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// More than any form of a key with white space round it; the rest isn't read.
const MAX_FILE_LEN: usize = 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn put(path: &Path, contents: &str, mode: u32) {
        fs::write(path, contents).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_made_file_is_private_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let made = MasterKey::create_file(&path).unwrap();

        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(MasterKey::from_file(&path).unwrap().check_value(), made.check_value());
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "no draft stays: {names:?}");

        let error = MasterKey::create_file(&path).err().unwrap();
        assert!(matches!(error, MasterKeyError::Exists { .. }), "{error:?}");
        assert_eq!(MasterKey::from_file(&path).unwrap().check_value(), made.check_value());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_command() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        for (mode, refused) in [
            (0o600, false),
            (0o400, false),
            (0o640, true),
            (0o604, true),
            (0o620, true),
            (0o777, true),
        ] {
            put(&path, HEX, 0o600);
            put(&path, HEX, mode);
            let result = MasterKey::from_file(&path);
            assert_eq!(result.is_err(), refused, "{mode:o}");
            if let Err(error) = result {
                let want = format!("chmod 600 '{}'", path.display());
                assert!(error.to_string().contains(&want), "{error}");
            }
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn the_first_place_that_is_there_counts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("master.key");
        let credential = folder.path().join(MASTER_KEY_CREDENTIAL);
        let nothing = |_: &str| None;
        let with_folder = |name: &str| {
            (name == CREDENTIALS_VARIABLE).then(|| folder.path().as_os_str().to_owned())
        };
        let with_both = |name: &str| match name {
            MASTER_KEY_VARIABLE => Some(OsString::from(HEX)),
            _ => with_folder(name),
        };

        assert!(MasterKey::find(nothing, &file).unwrap().is_none());
        assert!(MasterKey::find(with_folder, &file).unwrap().is_none());
        put(&file, &HEX.replace("00", "aa"), 0o600);
        let source = |variable: &dyn Fn(&str) -> Option<OsString>| {
            MasterKey::find(variable, &file).unwrap().map(|(_, source)| source)
        };
        assert_eq!(source(&nothing), Some(MasterKeySource::File(file.clone())));
        assert_eq!(source(&with_folder), Some(MasterKeySource::File(file.clone())));
        assert_eq!(source(&with_both), Some(MasterKeySource::Environment));
        put(&credential, &HEX.replace("00", "bb"), 0o440);
        assert_eq!(source(&with_both), Some(MasterKeySource::Credential(credential)));
    }

    #[test]
    fn nonsense_is_an_error_and_never_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("master.key");
        put(&file, HEX, 0o600);
        let variable = |name: &str| (name == MASTER_KEY_VARIABLE).then(|| "swordfish".into());

        let error = MasterKey::find(variable, &file).err().unwrap();
        assert!(error.to_string().contains(MASTER_KEY_VARIABLE), "{error}");
        assert!(!format!("{error} {error:?}").contains("swordfish"), "{error:?}");

        put(&file, "", 0o600);
        let error = MasterKey::from_file(&file).err().unwrap();
        let cause = std::error::Error::source(&error).unwrap();
        assert_eq!(cause.to_string(), "it is empty", "{error}");
        let error = MasterKey::from_file(folder.path()).err().unwrap();
        assert!(matches!(error, MasterKeyError::Read { .. }), "{error:?}");
        let error = MasterKey::from_file(&folder.path().join("none")).err().unwrap();
        assert!(matches!(error, MasterKeyError::Missing { .. }), "{error:?}");
    }
}
