//! tar archives made by hand, entry by entry.

/// An archive under construction.
#[derive(Default)]
pub(crate) struct Tarball(pub(crate) Vec<u8>);

/// A header, as bytes that a test may change.
pub(crate) struct Header(pub(crate) [u8; 512]);

impl Header {
    /// ustar, mode 0644, 0:0, time 0.
    pub(crate) fn new(kind: u8, name: &str) -> Self {
        let header = Header([0; 512]).put(0, name.as_bytes()).put(100, b"0000644\0");
        let header = header.put(108, b"0000000\0").put(116, b"0000000\0").put(124, b"00000000000\0");
        header.put(136, b"00000000000\0").put(156, &[kind]).put(257, b"ustar\x0000")
    }

    pub(crate) fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn mode(self, mode: u16) -> Self {
        self.put(100, format!("{mode:07o}\0").as_bytes())
    }

    pub(crate) fn owner(self, uid: u32, gid: u32) -> Self {
        self.put(108, format!("{uid:07o}\0").as_bytes()).put(116, format!("{gid:07o}\0").as_bytes())
    }

    pub(crate) fn size(self, size: u64) -> Self {
        self.put(124, format!("{size:011o}\0").as_bytes())
    }

    pub(crate) fn mtime(self, seconds: u64) -> Self {
        self.put(136, format!("{seconds:011o}\0").as_bytes())
    }

    pub(crate) fn link(self, target: &str) -> Self {
        self.put(157, target.as_bytes())
    }

    pub(crate) fn device(self, major: u32, minor: u32) -> Self {
        self.put(329, format!("{major:07o}\0").as_bytes()).put(337, format!("{minor:07o}\0").as_bytes())
    }

    /// The header with its checksum.
    pub(crate) fn finished(&self) -> [u8; 512] {
        let mut bytes = self.0;
        bytes[148..156].fill(b' ');
        let sum: u32 = bytes.iter().map(|&byte| u32::from(byte)).sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes
    }
}

impl Tarball {
    /// Adds an entry without data.
    pub(crate) fn bare(mut self, kind: u8, name: &str, change: impl FnOnce(Header) -> Header) -> Self {
        self.0.extend(change(Header::new(kind, name)).finished());
        self
    }

    /// Adds an entry with data.
    pub(crate) fn entry(
        self,
        kind: u8,
        name: &str,
        data: &[u8],
        change: impl FnOnce(Header) -> Header,
    ) -> Self {
        let mut this = self.bare(kind, name, |header| change(header.size(data.len() as u64)));
        this.0.extend(data);
        this.0.resize(this.0.len().next_multiple_of(512), 0);
        this
    }

    pub(crate) fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(b'0', name, data, |header| header)
    }

    /// Adds an extended header.
    pub(crate) fn pax(self, kind: u8, records: &[(&str, &[u8])]) -> Self {
        let data: Vec<u8> = records.iter().flat_map(|(keyword, value)| record(keyword, value)).collect();
        self.entry(kind, "PaxHeaders/x", &data, |header| header)
    }

    /// The archive with its end.
    pub(crate) fn done(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

fn record(keyword: &str, value: &[u8]) -> Vec<u8> {
    let rest = keyword.len() + value.len() + 3;
    let len = (rest..).find(|len| len - len.to_string().len() == rest).unwrap();
    [format!("{len} {keyword}=").as_bytes(), value, b"\n"].concat()
}
