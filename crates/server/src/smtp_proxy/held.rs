//! Messages that are being held: in memory while they are small, beyond that in a file without a name.
//!
//! The signature goes in front of the body, and covers it, so a message has to be whole before its first
//! octet goes on. Up to [`MAX_IN_MEMORY`] of it stays in memory; what is larger goes into a file in the
//! data folder that has mode 0600 and no name, so that nobody finds it and a crash leaves nothing behind.
//! Both totals are capped over all connections. There is no queue: a message is held for as long as its
//! client waits, and no longer.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use crate::metrics::{HeldLabels, Metrics};

/// The room for all held messages of the process. Cheap to clone.
#[derive(Clone)]
pub struct Room(Arc<Shared>);

struct Shared {
    folder: PathBuf,
    memory: Place,
    disk: Place,
}

/// One of the two places, with its cap.
struct Place {
    labels: HeldLabels,
    cap: u64,
    taken: AtomicU64,
    metrics: Metrics,
}

impl Room {
    /// Room for so many octets in memory and in files of `folder`.
    pub fn new(folder: PathBuf, in_memory: u64, on_disk: u64, metrics: &Metrics) -> Self {
        let place = |name, cap| Place {
            labels: HeldLabels { place: name },
            cap,
            taken: AtomicU64::new(0),
            metrics: metrics.clone(),
        };
        Self(Arc::new(Shared {
            folder,
            memory: place("memory", in_memory),
            disk: place("disk", on_disk),
        }))
    }

    /// Says whether a message of about `octets` may begin.
    pub(super) fn has_room(&self, octets: u64) -> bool {
        octets <= MAX_IN_MEMORY && self.0.memory.has_room(octets) || self.0.disk.has_room(octets)
    }

    /// How many octets are held.
    #[cfg(test)]
    pub(super) fn held(&self) -> u64 {
        let taken = |place: &Place| place.taken.load(Ordering::Relaxed);
        taken(&self.0.memory) + taken(&self.0.disk)
    }

    /// Takes nothing yet.
    pub(super) fn reserve(&self) -> Reservation {
        Reservation { room: self.clone(), octets: 0 }
    }

    /// Begins to hold a message.
    pub(super) fn hold(&self) -> Held {
        Held { room: self.clone(), buffer: Vec::new(), file: None, reserved: 0, on_disk: 0 }
    }
}

/// Room that was taken for something else in memory. Given back when it is dropped.
pub(super) struct Reservation {
    room: Room,
    octets: u64,
}

impl Reservation {
    /// Takes more.
    pub(super) fn grow_by(&mut self, octets: usize) -> Result<(), HeldError> {
        let octets = octets as u64;
        self.room.0.memory.take(octets)?;
        self.octets += octets;
        Ok(())
    }

    /// Gives a part of it back.
    pub(super) fn shrink_by(&mut self, octets: usize) {
        let octets = (octets as u64).min(self.octets);
        self.room.0.memory.give_back(octets);
        self.octets -= octets;
    }

    /// Takes more until it is `octets` in all.
    pub(super) fn grow_to(&mut self, octets: usize) -> Result<(), HeldError> {
        let octets = octets as u64;
        if octets > self.octets {
            self.room.0.memory.take(octets - self.octets)?;
            self.octets = octets;
        }
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.room.0.memory.give_back(self.octets);
    }
}

impl Place {
    fn has_room(&self, octets: u64) -> bool {
        self.taken.load(Ordering::Relaxed).saturating_add(octets) <= self.cap
    }

    fn take(&self, octets: u64) -> Result<(), HeldError> {
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                taken.checked_add(octets).filter(|sum| *sum <= self.cap)
            })
            .map_err(|_| HeldError::NoRoom)?;
        self.show(octets, 1);
        Ok(())
    }

    fn give_back(&self, octets: u64) {
        self.taken.fetch_sub(octets, Ordering::Relaxed);
        self.show(octets, -1);
    }

    fn show(&self, octets: u64, sign: i64) {
        let octets = i64::try_from(octets).unwrap_or(i64::MAX);
        self.metrics.held_octets.get_or_create(&self.labels).inc_by(octets.saturating_mul(sign));
    }
}

/// One held message. What it takes is given back when it is dropped.
pub(super) struct Held {
    room: Room,
    /// The whole message, or what is not in the file yet.
    buffer: Vec<u8>,
    file: Option<File>,
    /// Octets reserved in memory: the capacity of `buffer`.
    reserved: u64,
    on_disk: u64,
}

impl Held {
    /// Adds octets.
    pub(super) async fn push(&mut self, octets: &[u8]) -> Result<(), HeldError> {
        let len = self.buffer.len() + octets.len();
        if self.file.is_none() && len as u64 > MAX_IN_MEMORY {
            self.move_to_file().await?;
        }
        if self.file.is_some() && len > FILE_BUFFER {
            self.write_out().await?;
        }
        if !self.fits(octets.len())? {
            // Memory is taken up by others; the file of this one may still have room.
            self.move_to_file().await?;
            self.write_out().await?;
            self.room.0.disk.take(octets.len() as u64)?;
            self.on_disk += octets.len() as u64;
            return self.write(octets).await;
        }
        self.buffer.extend_from_slice(octets);
        Ok(())
    }

    /// Makes the buffer large enough; says no if there is no memory for that.
    fn fits(&mut self, more: usize) -> Result<bool, HeldError> {
        let needed = self.buffer.len() + more;
        if needed <= self.buffer.capacity() {
            return Ok(true);
        }
        let wanted = needed.next_power_of_two().max(SMALLEST_BUFFER);
        let step = wanted as u64 - self.reserved;
        if self.room.0.memory.take(step).is_err() {
            return if self.room.0.disk.has_room(more as u64) {
                Ok(false)
            } else {
                Err(HeldError::NoRoom)
            };
        }
        self.reserved += step;
        self.buffer.reserve_exact(wanted - self.buffer.len());
        Ok(true)
    }

    async fn move_to_file(&mut self) -> Result<(), HeldError> {
        if self.file.is_some() {
            return Ok(());
        }
        let folder = self.room.0.folder.clone();
        let file = tokio::task::spawn_blocking(move || tempfile::tempfile_in(folder))
            .await
            .map_err(io::Error::other)??;
        self.file = Some(File::from_std(file));
        Ok(())
    }

    /// Moves what is in the buffer to the file, and gives memory back.
    async fn write_out(&mut self) -> Result<(), HeldError> {
        let buffer = std::mem::take(&mut self.buffer);
        self.room.0.memory.give_back(self.reserved);
        self.reserved = 0;
        self.room.0.disk.take(buffer.len() as u64)?;
        self.on_disk += buffer.len() as u64;
        self.write(&buffer).await
    }

    async fn write(&mut self, octets: &[u8]) -> Result<(), HeldError> {
        match &mut self.file {
            Some(file) => Ok(file.write_all(octets).await?),
            None => Err(HeldError::Io(io::Error::from(io::ErrorKind::NotFound))),
        }
    }

    /// Goes back to the start, to be read with [`Reader::next`].
    pub(super) async fn read(&mut self) -> Result<Reader<'_>, HeldError> {
        if let Some(file) = &mut self.file {
            if !self.buffer.is_empty() {
                self.room.0.disk.take(self.buffer.len() as u64)?;
                self.on_disk += self.buffer.len() as u64;
                file.write_all(&self.buffer).await?;
            }
            file.flush().await?;
            file.rewind().await?;
            self.buffer.clear();
            self.buffer.resize(FILE_BUFFER, 0);
        }
        Ok(Reader { held: self, given: false })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.0.memory.give_back(self.reserved);
        self.room.0.disk.give_back(self.on_disk);
    }
}

/// Reads a held message.
pub(super) struct Reader<'a> {
    held: &'a mut Held,
    given: bool,
}

impl Reader<'_> {
    /// The next octets, or `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<&[u8]>, HeldError> {
        let Held { file, buffer, .. } = &mut *self.held;
        let octets = match file {
            Some(file) => {
                let len = file.read(buffer).await?;
                buffer.get(..len)
            }
            None if self.given => None,
            None => Some(buffer.as_slice()),
        };
        self.given = true;
        Ok(octets.filter(|octets| !octets.is_empty()))
    }
}

/// Why a message cannot be held. None of it is the client's fault.
#[derive(Debug, Error)]
pub enum HeldError {
    /// The caps are reached.
    #[error("too much mail is being held")]
    NoRoom,
    /// The file in the data folder fails.
    #[error("a held message cannot be kept in the data folder: {0}")]
    Io(#[from] io::Error),
}

/// The most of one message in memory.
pub(super) const MAX_IN_MEMORY: u64 = 1024 * 1024;

/// What is written to, and read from, a file at once.
const FILE_BUFFER: usize = 64 * 1024;

/// The first allocation for a message.
const SMALLEST_BUFFER: usize = 4 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn room(in_memory: u64, on_disk: u64) -> (tempfile::TempDir, Room) {
        let folder = tempfile::tempdir().unwrap();
        let room = Room::new(folder.path().to_owned(), in_memory, on_disk, &Metrics::default());
        (folder, room)
    }

    async fn content(held: &mut Held) -> Vec<u8> {
        let mut all = Vec::new();
        let mut reader = held.read().await.unwrap();
        while let Some(octets) = reader.next().await.unwrap() {
            all.extend_from_slice(octets);
        }
        all
    }

    fn taken(room: &Room) -> (u64, u64) {
        let shared = &room.0;
        (shared.memory.taken.load(Ordering::Relaxed), shared.disk.taken.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn gives_back_what_it_got_whatever_the_size() {
        let (folder, room) = room(4 << 20, 16 << 20);
        for (pushes, len) in [(0, 0), (1, 10), (100, 1000), (40, 30_000), (3, 900_000), (300, 9999)]
        {
            let mut held = room.hold();
            let mut want = Vec::new();
            for number in 0..pushes {
                let octets = vec![u8::try_from(number % 251).unwrap(); len];
                held.push(&octets).await.unwrap();
                want.extend_from_slice(&octets);
            }
            assert_eq!(held.file.is_some(), want.len() as u64 > MAX_IN_MEMORY, "{pushes} of {len}");
            let (memory, disk) = taken(&room);
            assert!(memory + disk >= want.len() as u64, "what is held is counted");
            assert_eq!(
                std::fs::read_dir(folder.path()).unwrap().count(),
                0,
                "the file has no name"
            );
            assert!(content(&mut held).await == want, "{pushes} of {len}");
            drop(held);
            assert_eq!(taken(&room), (0, 0));
        }
    }

    #[tokio::test]
    async fn caps_hold_and_memory_overflows_to_disk() {
        let (_folder, room) = room(100_000, 300_000);
        assert!(room.has_room(50_000) && room.has_room(200_000) && !room.has_room(2_000_000));
        let mut first = room.hold();
        first.push(&[1; 60_000]).await.unwrap();
        let mut second = room.hold();
        second.push(&[2; 60_000]).await.unwrap();
        second.push(&[3; 60_000]).await.unwrap();
        assert!(first.file.is_none() && second.file.is_some());

        let mut third = room.hold();
        let mut result = Ok(());
        for _ in 0..20 {
            result = third.push(&[4; 60_000]).await;
            if result.is_err() {
                break;
            }
        }
        assert!(matches!(result, Err(HeldError::NoRoom)));
        let (memory, disk) = taken(&room);
        assert!(memory <= 100_000 && disk <= 300_000);

        let want = [vec![2; 60_000], vec![3; 60_000]].concat();
        assert!(content(&mut second).await == want);
        drop((first, second, third));
        assert_eq!(taken(&room), (0, 0));
    }

    #[tokio::test]
    async fn a_folder_that_is_gone_is_an_error() {
        let (folder, room) = room(100_000, 16 << 20);
        drop(folder);
        let mut held = room.hold();
        let result = held.push(&vec![0; 2 << 20]).await;
        assert!(matches!(result, Err(HeldError::Io(_))), "{result:?}");
    }
}
