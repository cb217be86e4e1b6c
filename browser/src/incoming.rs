//! One file on its way in: its bytes go where they will stay, and are hashed as they arrive.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use kernel::transcript::Sha256;
use loader::digest::{Sha256Digest, TensorDigest, hex};
use loader::manifest::ManifestFile;
use loader::{Bytes, Header, Part};

use crate::assembly::AssemblyError;

/// A file of which the first `filled` bytes have arrived and were found right, as far as they can be judged.
pub(crate) struct Incoming {
    listed: ManifestFile,
    /// The whole file: as long as the manifest says, once there is room for it.
    bytes: Vec<u8>,
    filled: usize,
    check: Check,
}

/// How the bytes are judged.
enum Check {
    /// By the file's own hash, when all are there.
    Whole(Sha256),
    /// Tensor by tensor.
    Weights(Weights),
}

#[derive(Default)]
struct Weights {
    /// There as soon as its bytes are.
    header: Option<Header>,
    /// The hash of the tensor that is arriving: the one after `digests`.
    hash: Sha256,
    /// Of the tensors that are complete, in the order of their bytes.
    digests: Vec<TensorDigest>,
}

impl Incoming {
    pub(crate) fn new(listed: ManifestFile) -> Incoming {
        let check = Check::of(&listed);
        Incoming { listed, bytes: Vec::new(), filled: 0, check }
    }

    pub(crate) fn listed(&self) -> &ManifestFile {
        &self.listed
    }

    pub(crate) fn is_weights(&self) -> bool {
        matches!(self.check, Check::Weights(_))
    }

    /// Number of bytes that have arrived.
    pub(crate) fn filled(&self) -> usize {
        self.filled
    }

    /// The bytes that have arrived.
    pub(crate) fn arrived(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// Makes room for the whole file.
    pub(crate) fn allocate(&mut self) -> Result<(), AssemblyError> {
        let no_room = || AssemblyError::NoRoom { file: self.listed.name.clone(), size: self.listed.size };
        let size = usize::try_from(self.listed.size).map_err(|_| no_room())?;
        self.bytes.try_reserve_exact(size).map_err(|_| no_room())?;
        self.bytes.resize(size, 0);
        Ok(())
    }

    /// Takes the next `len` bytes, which `fill` puts in place, and hashes them. Where they are wrong all that has arrived is forgotten.
    pub(crate) fn write(
        &mut self,
        len: usize,
        tensors: &BTreeMap<String, Sha256Digest>,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), AssemblyError> {
        let (start, end) = (self.filled, self.filled.saturating_add(len));
        let Some(room) = self.bytes.get_mut(start..end) else {
            return Err(AssemblyError::TooLong { file: self.listed.name.clone(), size: self.listed.size });
        };
        fill(room);
        self.filled = end;
        let checked = match &mut self.check {
            Check::Whole(hash) => {
                hash.update(&self.bytes[start..end]);
                if end < self.bytes.len() {
                    return Ok(());
                }
                let found = mem::take(hash).finish();
                self.compare_whole(found)
            }
            Check::Weights(weights) => weights.advance(&self.listed, &self.bytes, start, end, tensors),
        };
        if checked.is_err() {
            self.restart();
        }
        checked
    }

    /// Forgets what has arrived.
    pub(crate) fn restart(&mut self) {
        self.filled = 0;
        self.check = Check::of(&self.listed);
    }

    /// The whole file's bytes.
    pub(crate) fn into_bytes(self) -> Result<Vec<u8>, AssemblyError> {
        self.expect_complete()?;
        Ok(self.bytes)
    }

    /// The whole weight file, without a copy, and the digests of its tensors.
    pub(crate) fn into_part(self) -> Result<(Part, Vec<TensorDigest>), AssemblyError> {
        self.expect_complete()?;
        match self.check {
            Check::Weights(Weights { header: Some(header), digests, .. }) => {
                let bytes: Bytes = Arc::new(self.bytes);
                Ok((Part { file: self.listed.name, header, bytes }, digests))
            }
            _ => Err(AssemblyError::NotWeights { file: self.listed.name }),
        }
    }

    fn expect_complete(&self) -> Result<(), AssemblyError> {
        let (arrived, size) = (self.filled as u64, self.listed.size);
        if arrived == size && size > 0 {
            return Ok(());
        }
        Err(AssemblyError::Incomplete { file: self.listed.name.clone(), arrived, size })
    }

    fn compare_whole(&self, found: Sha256Digest) -> Result<(), AssemblyError> {
        if found == self.listed.sha256 {
            return Ok(());
        }
        let (expected, found) = (hex(&self.listed.sha256), hex(&found));
        Err(AssemblyError::FileHash { file: self.listed.name.clone(), expected, found })
    }
}

impl Check {
    fn of(listed: &ManifestFile) -> Check {
        match listed.name.ends_with(".safetensors") {
            true => Check::Weights(Weights::default()),
            false => Check::Whole(Sha256::new()),
        }
    }
}

impl Weights {
    /// Reads the header as soon as it is there, hashes `file[start..end]`, which has just arrived, and compares each
    /// tensor that it completes.
    fn advance(
        &mut self,
        listed: &ManifestFile,
        file: &[u8],
        start: usize,
        end: usize,
        expected: &BTreeMap<String, Sha256Digest>,
    ) -> Result<(), AssemblyError> {
        let header = match &self.header {
            Some(header) => header,
            None => {
                let parsed = parse_header(&file[..end], listed.size);
                match parsed.map_err(|error| AssemblyError::Safetensors { file: listed.name.clone(), error })? {
                    Some(header) => self.header.insert(header),
                    None => return Ok(()),
                }
            }
        };
        for tensor in &header.tensors()[self.digests.len()..] {
            let range = &tensor.range;
            // The first bytes of data may have arrived together with the end of the header.
            let fresh = range.start.max(start)..range.end.min(end);
            self.hash.update(file.get(fresh).unwrap_or_default());
            if end < range.end {
                break;
            }
            let sha256 = mem::take(&mut self.hash).finish();
            let name = tensor.name.clone();
            match expected.get(&name) {
                Some(listed) if *listed == sha256 => {}
                Some(listed_digest) => {
                    let (expected, found) = (hex(listed_digest), hex(&sha256));
                    return Err(AssemblyError::TensorHash { file: listed.name.clone(), tensor: name, expected, found });
                }
                None => return Err(AssemblyError::UnknownTensor { file: listed.name.clone(), tensor: name }),
            }
            self.digests.push(TensorDigest { name, dtype: tensor.dtype, shape: tensor.shape.clone(), sha256 });
        }
        Ok(())
    }
}

/// The header that begins `prefix`, once all of it is there.
fn parse_header(prefix: &[u8], file_len: u64) -> Result<Option<Header>, loader::SafetensorsError> {
    let Some(first8) = prefix.first_chunk() else { return Ok(None) };
    if prefix.len() < Header::size_of_prefix(*first8, file_len)? {
        return Ok(None);
    }
    Header::parse(prefix, file_len).map(Some)
}
