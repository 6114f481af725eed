//! UBI images and devices for tests, and what a kernel would find on a device.
#![allow(dead_code, unreachable_pub, reason = "shared by tests, of which not every one uses all of it")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use flashwright_flashsim::{Random, Simulation};
use flashwright_media::{Flash, FlashFault, FlashGeometry, UbiGeometry};
use flashwright_plan::ubi::{self, Mode, Plan, UbiReport};
use flashwright_plan::{Ending, Error, Event, PipeSource, Source};
use flashwright_ubi::format::VolumeType::{self, Dynamic, Static};
use flashwright_ubi::format::{EcHdr, VidHdr};
use flashwright_ubi::reader::{Image, Severity};
use flashwright_ubi::{Content, Options, Volume};

pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    Random::new(seed).bytes(len)
}

/// A volume with some content.
pub fn volume(name: &str, kind: VolumeType, content: Vec<u8>) -> Volume {
    let mut volume = Volume::new(name);
    (volume.volume_type, volume.content) = (kind, Some(Content::from_bytes(content)));
    volume
}

pub fn geometry(flash: &FlashGeometry) -> UbiGeometry {
    let FlashGeometry { eraseblock_size, page_size, sub_page_size, .. } = *flash;
    UbiGeometry::new(eraseblock_size, page_size, Some(sub_page_size), None).unwrap()
}

/// An image of those volumes.
pub fn image(flash: &FlashGeometry, volumes: &[Volume], image_seq: u32) -> Vec<u8> {
    let mut options = Options::new(geometry(flash));
    options.image_seq = Some(image_seq);
    let mut bytes = Vec::new();
    flashwright_ubi::plan(volumes, &options).unwrap().write_to(&mut bytes, &mut |_| ()).unwrap();
    bytes
}

/// A dynamic volume of LEBs of which one is erased in its middle, a static one, and one that grows: as LEBs `lebs`.
pub fn volumes(flash: &FlashGeometry, lebs: usize, seed: u64) -> Vec<Volume> {
    let leb = geometry(flash).leb_size() as usize;
    let mut content = noise(leb * lebs - 100, seed);
    let page = (flash.page_size as usize).max(256);
    content[page..2 * page].fill(0xff);
    let root = volume("root", Dynamic, content);
    let kernel = volume("kernel", Static, noise(leb + 300, seed + 1));
    let mut data = Volume::new("data");
    (data.size, data.autoresize) = (Some(1), true);
    vec![root, kernel, data]
}

/// Content of volumes by name.
pub type Volumes = BTreeMap<Vec<u8>, Vec<u8>>;

/// What is read of a device: bad eraseblocks left out.
pub fn dump(flash: &mut Simulation) -> Vec<u8> {
    let sizes = flash.geometry();
    let mut bytes = Vec::new();
    for eraseblock in 0..sizes.eraseblock_count {
        if flash.marked_bad(eraseblock) {
            continue;
        }
        let mut peb = vec![0; sizes.eraseblock_size as usize];
        // By the page, as headers are read: one that cannot be read says nothing of the others.
        for (index, page) in peb.chunks_mut(sizes.page_size.max(256) as usize).enumerate() {
            let offset = sizes.offset_of(eraseblock) + index as u64 * u64::from(sizes.page_size.max(256));
            if let Err(error) = flash.read(offset, page) {
                assert!(matches!(error.fault, FlashFault::Uncorrectable), "{error}");
                // Nothing that a kernel would take for a header.
                page.fill(0xa5);
            }
        }
        bytes.extend(peb);
    }
    bytes
}

pub fn open(bytes: Vec<u8>, peb_size: u32) -> Option<Image> {
    let len = bytes.len() as u64;
    Image::open(Arc::new(bytes), len, Some(peb_size)).ok()
}

/// What a kernel would do with a device.
#[derive(Debug, PartialEq, Eq)]
pub enum Attached {
    /// It makes an empty UBI of it.
    Blank,
    /// It does not attach it.
    Refused,
    /// It finds volumes.
    Found(Volumes),
}

pub fn attach(flash: &mut Simulation) -> Attached {
    let peb_size = flash.geometry().eraseblock_size;
    let bytes = dump(flash);
    let ec = |peb: &[u8]| EcHdr::parse(peb[..64].try_into().unwrap());
    if bytes.chunks(peb_size as usize).all(|peb| peb[..64].iter().all(|&byte| byte == 0xff)) {
        return Attached::Blank;
    }
    let seqs: Vec<u32> =
        bytes.chunks(peb_size as usize).filter_map(|peb| ec(peb).ok()).map(|ec| ec.image_seq).collect();
    if seqs.iter().any(|seq| *seq != seqs[0]) {
        return Attached::Refused;
    }
    let Some(image) = open(bytes, peb_size) else { return Attached::Refused };
    let no_table = image.check().unwrap().findings.into_iter().any(|finding| {
        finding.what == "volume table"
            && finding.severity == Severity::Error
            && finding.found == "none"
            && finding.expected == "one sound copy"
    });
    if no_table {
        return Attached::Refused;
    }
    let mut volumes = Volumes::new();
    for volume in image.volumes() {
        let mut content = Vec::new();
        let Ok(_) = image.extract(volume, &mut content, &mut |_| ()) else {
            content = b"damaged".to_vec();
            volumes.insert(volume.name.clone(), content);
            continue;
        };
        volumes.insert(volume.name.clone(), content);
    }
    Attached::Found(volumes)
}

/// What is in an image.
pub fn found_in(image: &[u8], peb_size: u32) -> Attached {
    let image = open(image.to_vec(), peb_size).unwrap();
    let content = |volume| {
        let mut content = Vec::new();
        image.extract(volume, &mut content, &mut |_| ()).unwrap();
        content
    };
    Attached::Found(image.volumes().iter().map(|volume| (volume.name.clone(), content(volume))).collect())
}

/// Puts an image onto a device as if it had been there for long, PEBs erased so often, from PEB `from` on; the other PEBs
/// are free.
pub fn settle(flash: &mut Simulation, image: &[u8], counts: impl Fn(u32) -> u32) {
    let sizes = flash.geometry();
    let size = sizes.eraseblock_size as usize;
    let first = EcHdr::parse(image[..64].try_into().unwrap()).unwrap();
    let mut pebs = image.chunks(size);
    for eraseblock in 0..sizes.eraseblock_count {
        if flash.marked_bad(eraseblock) {
            continue;
        }
        let mut peb = pebs.next().map_or_else(|| vec![0xff; size], <[u8]>::to_vec);
        let header = EcHdr { erase_count: counts(eraseblock).into(), ..first };
        peb[..64].copy_from_slice(&header.to_bytes());
        flash.store(sizes.offset_of(eraseblock), &peb);
        flash.set_erases(eraseblock, counts(eraseblock).into());
    }
    assert!(pebs.next().is_none());
}

/// The erase count in the header of a PEB.
pub fn recorded(flash: &Simulation, peb: u32) -> Option<u64> {
    let header = EcHdr::parse(flash.content(peb)[..64].try_into().unwrap());
    header.ok().map(|header| header.erase_count)
}

/// The VID header of a PEB.
pub fn vid(flash: &Simulation, peb: u32) -> Option<VidHdr> {
    let start = geometry(&flash.geometry()).vid_hdr_offset() as usize;
    VidHdr::parse(flash.content(peb)[start..start + 64].try_into().unwrap()).ok()
}

pub fn go_on(_: Event) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

pub fn planned(flash: &mut Simulation, image: &[u8]) -> Result<Plan, Error> {
    let mut source = image;
    ubi::plan(flash, &mut source, &ubi::Options::default(), &mut go_on).map_err(|error| *error)
}

/// Plans and executes; what was planned, and done.
pub struct Written {
    pub plan: Plan,
    pub report: UbiReport,
    pub result: Result<Ending, Error>,
}

impl Written {
    #[track_caller]
    pub fn done(self) -> Self {
        assert!(matches!(self.result, Ok(Ending::Done)), "{:?}", self.result);
        self
    }
}

pub fn write_from(flash: &mut Simulation, source: &mut dyn Source) -> Result<Written, Error> {
    let plan = ubi::plan(flash, source, &ubi::Options::default(), &mut go_on).map_err(|error| *error)?;
    let mut report = UbiReport::default();
    let result = plan.execute(flash, source, &[], &mut report, &mut go_on).map_err(|error| *error);
    Ok(Written { plan, report, result })
}

pub fn write(flash: &mut Simulation, image: &[u8]) -> Result<Written, Error> {
    let mut source = image;
    write_from(flash, &mut source)
}

pub fn write_pipe(flash: &mut Simulation, image: &[u8]) -> Result<Written, Error> {
    let mut input = image;
    let mut source = PipeSource::new(&mut input, image.len() as u64);
    write_from(flash, &mut source)
}

/// Nothing more to find on the device, nothing in danger, and nothing done that must not be.
#[track_caller]
pub fn assert_clean(flash: &mut Simulation, wanted: &Attached) {
    assert_eq!(flash.violations(), []);
    assert_eq!(&attach(flash), wanted);
    let peb_size = flash.geometry().eraseblock_size;
    let image = open(dump(flash), peb_size).unwrap();
    let findings: Vec<String> = image.check().unwrap().findings.iter().map(ToString::to_string).collect();
    assert_eq!(findings, [""; 0]);
    for peb in 0..flash.geometry().eraseblock_count {
        assert!(flash.marked_bad(peb) || flash.is_sound(peb), "PEB {peb} reads differently each time");
    }
}

/// Every PEB has the count of its erases, less those that were cut off and seem not to have been; those in `lost` are left
/// out.
#[track_caller]
pub fn assert_counts(flash: &Simulation, lost: &[u32]) {
    for peb in (0..flash.geometry().eraseblock_count).filter(|peb| !flash.marked_bad(*peb)) {
        let (erases, cut) = (flash.erases(peb), flash.cut_erases(peb));
        let count = recorded(flash, peb).unwrap();
        let right = (erases - cut..=erases).contains(&count);
        assert!(
            right || lost.contains(&peb),
            "PEB {peb}: {count} recorded, {erases} true, {cut} of them cut"
        );
    }
}

pub fn is_up_to_date(flash: &mut Simulation, image: &[u8]) -> bool {
    planned(flash, image).unwrap().mode() == Mode::UpToDate
}
