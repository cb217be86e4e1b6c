//! Makes GGUF files, right and wrong ones.

/// A GGUF file under construction.
#[derive(Clone)]
pub struct GgufFile {
    pub magic: [u8; 4],
    pub version: u32,
    /// Key, type code, value.
    pub metadata: Vec<(String, u32, Vec<u8>)>,
    pub tensors: Vec<TensorEntry>,
    pub alignment: usize,
    pub data: Vec<u8>,
}

#[derive(Clone)]
pub struct TensorEntry {
    pub name: String,
    /// Innermost first.
    pub axes: Vec<u64>,
    pub code: u32,
    pub offset: u64,
}

pub fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// The value of an array: element type, length, values.
pub fn array(code: u32, len: u64, values: &[u8]) -> Vec<u8> {
    [&code.to_le_bytes(), &len.to_le_bytes()[..], values].concat()
}

impl GgufFile {
    pub fn new() -> GgufFile {
        GgufFile { magic: *b"GGUF", version: 3, metadata: vec![], tensors: vec![], alignment: 32, data: vec![] }
    }

    pub fn with(mut self, key: &str, code: u32, value: &[u8]) -> GgufFile {
        self.metadata.push((key.to_owned(), code, value.to_owned()));
        self
    }

    /// Adds a tensor at the next aligned place.
    pub fn tensor(mut self, name: &str, axes: &[u64], code: u32, bytes: &[u8]) -> GgufFile {
        self.data.resize(self.data.len().next_multiple_of(self.alignment), 0);
        let offset = self.data.len() as u64;
        self.tensors.push(TensorEntry { name: name.to_owned(), axes: axes.to_vec(), code, offset });
        self.data.extend(bytes);
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut file = [&self.magic[..], &self.version.to_le_bytes()].concat();
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, code, value) in &self.metadata {
            file.extend([&text(key), &code.to_le_bytes()[..], value].concat());
        }
        for TensorEntry { name, axes, code, offset } in &self.tensors {
            file.extend(text(name));
            file.extend((axes.len() as u32).to_le_bytes());
            axes.iter().for_each(|axis| file.extend(axis.to_le_bytes()));
            file.extend(code.to_le_bytes());
            file.extend(offset.to_le_bytes());
        }
        file.resize(file.len().next_multiple_of(self.alignment), 0);
        file.extend(&self.data);
        file
    }
}

/// A small valid file with every kind of value and several tensors.
pub fn example() -> GgufFile {
    GgufFile::new()
        .with("general.architecture", 8, &text("llama"))
        .with("u8", 0, &[200])
        .with("i8", 1, &[200])
        .with("u16", 2, &[1, 2])
        .with("i16", 3, &[255, 255])
        .with("u32", 4, &[1, 0, 0, 0])
        .with("i32", 5, &[255, 255, 255, 255])
        .with("f32", 6, &1e-5f32.to_le_bytes())
        .with("bool", 7, &[1])
        .with("u64", 10, &u64::MAX.to_le_bytes())
        .with("i64", 11, &i64::MIN.to_le_bytes())
        .with("f64", 12, &0.1f64.to_le_bytes())
        .with("texts", 9, &array(8, 2, &[text("é"), text("")].concat()))
        .with("numbers", 9, &array(5, 3, &[1, 0, 0, 0, 2, 0, 0, 0, 255, 255, 255, 255]))
        .with("none", 9, &array(7, 0, &[]))
        .tensor("matrix", &[2, 3], 0, &[0u8; 24])
        .tensor("vector", &[32], 8, &[1; 34])
        .tensor("half", &[5], 1, &[0x3c; 10])
}
