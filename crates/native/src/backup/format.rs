//! The bytes of a backup file: a header, sections one after another, a trailer. Everything is little endian.
//!
//! ```text
//! header   "epicenter-backup"  version u32  CRC-32 of both u32
//! section  "EPS1"  frames  0u32  SHA-256 over everything from "EPS1" to the zero
//! frame    length u32 (1 to 1 MiB + 4 KiB)  so many bytes
//! trailer  "EPBKEND1"  offset of the manifest's section u64  SHA-256 of both
//! ```
//!
//! A section describes itself (its first frame is a [`super::manifest::Head`]) and proves itself (its hash), and the manifest
//! lists where each one is and what its hash must be. So a changed bit anywhere is found; when it is in a section, the
//! manifest leads past it; when it is in the manifest or the trailer, the sections can still be walked.

use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use ring::digest::{Context, SHA256};

/// Bytes of a hash.
pub(super) const HASH_BYTES: usize = 32;
/// A part of an entry is at most 1 MiB; the rest is for what stands before it.
pub(super) const MAX_FRAME_BYTES: usize = (1 << 20) + 4096;

const MAGIC: &[u8; 16] = b"epicenter-backup";
const VERSION: u32 = 1;
pub(super) const HEADER_BYTES: u64 = 24;
const SECTION_MARK: &[u8; 4] = b"EPS1";
const TRAILER_MARK: &[u8; 8] = b"EPBKEND1";
pub(super) const TRAILER_BYTES: u64 = 48;

/// Where a section is and what it hashes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) sha256: [u8; HASH_BYTES],
}

impl Place {
    /// The first byte after it.
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// Writes a backup from its first byte to its last; never seeks.
pub(super) struct Writer<W> {
    out: W,
    offset: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&header(VERSION))?;
        Ok(Self {
            out,
            offset: HEADER_BYTES,
        })
    }

    /// Begins a section; nothing else can be written until it is ended.
    pub(super) fn section(&mut self) -> io::Result<SectionWriter<'_, W>> {
        let mut section = SectionWriter {
            start: self.offset,
            hash: Context::new(&SHA256),
            writer: self,
        };
        section.write(SECTION_MARK)?;
        Ok(section)
    }

    /// Writes the trailer, after which nothing can follow.
    pub(super) fn write_trailer(&mut self, manifest: &Place) -> io::Result<()> {
        self.out.write_all(&trailer(manifest.offset))?;
        self.out.flush()
    }
}

/// A section while it is written.
pub(super) struct SectionWriter<'w, W> {
    writer: &'w mut Writer<W>,
    start: u64,
    hash: Context,
}

impl<W: Write> SectionWriter<'_, W> {
    /// Writes the pieces as one frame. None is empty, and none is larger than a reader takes.
    pub(super) fn frame(&mut self, pieces: &[&[u8]]) -> io::Result<()> {
        let length = pieces.iter().map(|piece| piece.len()).sum::<usize>();
        if length == 0 || length > MAX_FRAME_BYTES {
            let what = format!("bug: a frame of {length} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        // It fits, as it is far below 4 GiB.
        self.write(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes())?;
        pieces.iter().try_for_each(|piece| self.write(piece))
    }

    /// Ends the section.
    pub(super) fn end(mut self) -> io::Result<Place> {
        self.write(&0_u32.to_le_bytes())?;
        let sha256 = finish(self.hash);
        self.writer.out.write_all(&sha256)?;
        self.writer.offset += HASH_BYTES as u64;
        Ok(Place {
            offset: self.start,
            length: self.writer.offset - self.start,
            sha256,
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.out.write_all(bytes)?;
        self.writer.offset += bytes.len() as u64;
        self.hash.update(bytes);
        Ok(())
    }
}

/// What is wrong with a part of a backup file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The file ends in it.
    #[error("the file ends inside it")]
    Cut,
    /// It does not begin, or go on, as it must.
    #[error("its structure is damaged")]
    Structure,
    /// Its bytes are not the ones that were written.
    #[error("its hash does not match")]
    Hash,
    /// It cannot be read from the disk.
    #[error("it cannot be read: {0}")]
    Io(io::Error),
    /// What it says cannot be understood, though it is what was written.
    #[error("{0}")]
    Content(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Cut,
            _ => Self::Io(error),
        }
    }
}

/// The first bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// This program's.
    Known,
    /// That of a newer program, with its version.
    Newer(u32),
    /// Damaged, or not of a backup at all.
    Damaged,
}

pub(super) fn read_header(file: &mut (impl Read + Seek)) -> Result<Header, Fault> {
    let mut found = [0; HEADER_BYTES as usize];
    file.seek(SeekFrom::Start(0))?;
    match file.read_exact(&mut found) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Header::Damaged),
        result => result?,
    }
    let mut version = [0; 4];
    version.copy_from_slice(&found[16..20]);
    let version = u32::from_le_bytes(version);
    if found != header(version) {
        return Ok(Header::Damaged);
    }
    Ok(match version {
        VERSION => Header::Known,
        newer => Header::Newer(newer),
    })
}

/// Where the manifest is, as the trailer says; none when there is no sound trailer at the end of the file.
pub(super) fn read_trailer(
    file: &mut (impl Read + Seek),
    file_bytes: u64,
) -> Result<Option<u64>, Fault> {
    let Some(start) = file_bytes.checked_sub(TRAILER_BYTES) else {
        return Ok(None);
    };
    let mut found = [0; TRAILER_BYTES as usize];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut found)?;
    let mut offset = [0; 8];
    offset.copy_from_slice(&found[8..16]);
    let offset = u64::from_le_bytes(offset);
    Ok((found == trailer(offset)).then_some(offset))
}

/// Reads one section, frame by frame; says at its end whether all of it was what was written.
pub(super) struct SectionReader<R> {
    input: BufReader<R>,
    offset: u64,
    length: u64,
    hash: Context,
    frame: Vec<u8>,
}

impl<R: Read + Seek> SectionReader<R> {
    pub(super) fn open(mut input: R, offset: u64) -> Result<Self, Fault> {
        input.seek(SeekFrom::Start(offset))?;
        let mut section = Self {
            input: BufReader::with_capacity(64 << 10, input),
            offset,
            length: 0,
            hash: Context::new(&SHA256),
            frame: Vec::new(),
        };
        let mut mark = [0; SECTION_MARK.len()];
        section.read(&mut mark)?;
        if mark == *SECTION_MARK {
            Ok(section)
        } else {
            Err(Fault::Structure)
        }
    }

    /// The next frame; none after the last one.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, Fault> {
        let mut length = [0; 4];
        self.read(&mut length)?;
        let length = u32::from_le_bytes(length) as usize;
        if length == 0 {
            return Ok(None);
        }
        if length > MAX_FRAME_BYTES {
            return Err(Fault::Structure);
        }
        let mut frame = std::mem::take(&mut self.frame);
        frame.resize(length, 0);
        let read = self.read(&mut frame);
        self.frame = frame;
        read?;
        Ok(Some(&self.frame))
    }

    /// Reads what is left of it, and compares the hash.
    pub(super) fn finish(mut self) -> Result<Place, Fault> {
        while self.next()?.is_some() {}
        self.check_end()
    }

    /// After the last frame: compares the hash.
    pub(super) fn check_end(mut self) -> Result<Place, Fault> {
        let mut written = [0; HASH_BYTES];
        self.input.read_exact(&mut written)?;
        let sha256 = finish(self.hash);
        if written != sha256 {
            return Err(Fault::Hash);
        }
        Ok(Place {
            offset: self.offset,
            length: self.length + HASH_BYTES as u64,
            sha256,
        })
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
        self.input.read_exact(bytes)?;
        self.length += bytes.len() as u64;
        self.hash.update(bytes);
        Ok(())
    }
}

fn header(version: u32) -> [u8; HEADER_BYTES as usize] {
    let mut bytes = [0; HEADER_BYTES as usize];
    bytes[..16].copy_from_slice(MAGIC);
    bytes[16..20].copy_from_slice(&version.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..20]);
    bytes[20..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn trailer(manifest: u64) -> [u8; TRAILER_BYTES as usize] {
    let mut bytes = [0; TRAILER_BYTES as usize];
    bytes[..8].copy_from_slice(TRAILER_MARK);
    bytes[8..16].copy_from_slice(&manifest.to_le_bytes());
    let mut hash = Context::new(&SHA256);
    hash.update(&bytes[..16]);
    bytes[16..].copy_from_slice(&finish(hash));
    bytes
}

fn finish(hash: Context) -> [u8; HASH_BYTES] {
    let mut bytes = [0; HASH_BYTES];
    bytes.copy_from_slice(hash.finish().as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn example() -> (Vec<u8>, [Place; 2]) {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file).unwrap();
        let mut section = writer.section().unwrap();
        section.frame(&[b"first", b" frame"]).unwrap();
        section.frame(&[b"second"]).unwrap();
        let first = section.end().unwrap();
        let second = writer.section().unwrap().end().unwrap();
        writer.write_trailer(&second).unwrap();
        (file, [first, second])
    }

    fn frames(file: &[u8], place: &Place) -> Result<Vec<Vec<u8>>, Fault> {
        let mut section = SectionReader::open(Cursor::new(file), place.offset)?;
        let mut frames = Vec::new();
        while let Some(frame) = section.next()? {
            frames.push(frame.to_vec());
        }
        assert_eq!(section.check_end()?, *place);
        Ok(frames)
    }

    #[test]
    fn the_bytes_are_pinned() {
        let (file, _) = example();
        let hex: String = file.iter().map(|byte| format!("{byte:02x}")).collect();
        let expect = [
            "65706963656e7465722d6261636b757001000000",
            &format!("{:08x}", crc32fast::hash(&file[..20]).swap_bytes()),
            "45505331",
            "0b000000",
            "6669727374206672616d65",
            "06000000",
            "7365636f6e64",
            "00000000",
        ]
        .concat();
        assert!(hex.starts_with(&expect), "{hex}");
        assert!(hex.contains("4550424b454e4431"), "{hex}");
        assert_eq!(file.len(), 24 + 4 + 15 + 10 + 4 + 32 + 4 + 4 + 32 + 48);
    }

    #[test]
    fn what_was_written_is_read_again() {
        let (file, [first, second]) = example();
        let mut cursor = Cursor::new(&file);
        assert_eq!(read_header(&mut cursor).unwrap(), Header::Known);
        let length = file.len() as u64;
        let manifest = read_trailer(&mut cursor, length).unwrap();
        assert_eq!(manifest, Some(second.offset));
        let found = frames(&file, &first).unwrap();
        assert_eq!(found, [b"first frame".to_vec(), b"second".to_vec()]);
        assert!(frames(&file, &second).unwrap().is_empty());
    }

    #[test]
    fn a_changed_bit_is_found_where_it_is() {
        let (sound, [first, second]) = example();
        for byte in 0..sound.len() {
            let mut file = sound.clone();
            file[byte] ^= 1 << (byte % 8);
            let mut cursor = Cursor::new(&file);
            let at = byte as u64;
            let length = file.len() as u64;
            let is_header = read_header(&mut cursor).unwrap() != Header::Known;
            assert_eq!(is_header, at < HEADER_BYTES, "{byte}");
            let trailer = read_trailer(&mut cursor, length).unwrap();
            assert_eq!(trailer.is_none(), at >= second.end(), "{byte}");
            for place in [first, second] {
                let is_in = (place.offset..place.end()).contains(&at);
                assert_eq!(frames(&file, &place).is_err(), is_in, "{byte}");
            }
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let mut file = example().0;
        file[..24].copy_from_slice(&header(7));
        let found = read_header(&mut Cursor::new(&file)).unwrap();
        assert_eq!(found, Header::Newer(7));
        let found = read_header(&mut Cursor::new(b"short")).unwrap();
        assert_eq!(found, Header::Damaged);
    }
}
