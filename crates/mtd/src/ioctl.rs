//! The calls that are no read and no write, and the structures they take. All `unsafe` of this workspace is here, and in
//! [`interrupt`](crate::interrupt).
//!
//! Numbers and structures are those of the kernel's `ubi-user.h` and `mtd-abi.h`; the direction bits of a number
//! differ from CPU to CPU, which rustix knows.
#![allow(unsafe_code, reason = "ioctl takes a pointer to a structure that only its number tells")]

use std::ffi::c_void;
use std::fs::File;
use std::io;

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, opcode};

/// A structure that the kernel reads, and writes to, as it lies in memory.
///
/// # Safety
/// Any bytes must be a value of the type, and it must have no padding, or the kernel would see memory of ours.
unsafe trait Plain {}

// SAFETY: integers.
unsafe impl Plain for i32 {}
// SAFETY: integers.
unsafe impl Plain for i64 {}

/// Kernel: `struct ubi_attach_req`.
#[derive(Debug, Clone, Copy)]
#[repr(C, packed)]
pub(crate) struct AttachRequest {
    /// Device to make, -1 for any.
    pub(crate) ubi: i32,
    pub(crate) mtd: i32,
    /// Bytes; 0 for the kernel's choice.
    pub(crate) vid_hdr_offset: i32,
    /// Bad PEBs of 1024 that are provided for; 0 for the kernel's choice.
    pub(crate) max_beb_per1024: i16,
    pub(crate) zeros: [u8; 10],
}

// SAFETY: integers, packed.
unsafe impl Plain for AttachRequest {}

/// Kernel: `struct ubi_mkvol_req`.
#[derive(Debug, Clone, Copy)]
#[repr(C, packed)]
pub(crate) struct MakeVolumeRequest {
    /// -1 for any.
    pub(crate) id: i32,
    pub(crate) alignment: i32,
    pub(crate) bytes: i64,
    /// 3 dynamic, 4 static.
    pub(crate) kind: u8,
    /// 1: not checked when it is opened.
    pub(crate) flags: u8,
    pub(crate) name_len: i16,
    pub(crate) zeros: [u8; 4],
    pub(crate) name: [u8; 128],
}

// SAFETY: integers, packed.
unsafe impl Plain for MakeVolumeRequest {}

/// Kernel: `struct ubi_blkcreate_req`.
#[derive(Debug, Clone, Copy)]
#[repr(C, packed)]
pub(crate) struct MakeBlockRequest {
    pub(crate) zeros: [u8; 128],
}

// SAFETY: integers, packed.
unsafe impl Plain for MakeBlockRequest {}

/// Kernel: `struct erase_info_user64`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct EraseRequest {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

// SAFETY: two integers of one size, so without padding.
unsafe impl Plain for EraseRequest {}

/// Kernel: `struct erase_info_user`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct OldEraseRequest {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

// SAFETY: two integers of one size, so without padding.
unsafe impl Plain for OldEraseRequest {}

/// Kernel: `struct mtd_ecc_stats`. Counted since the device was found.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct EccCounts {
    /// Bits that were put right.
    pub(crate) corrected: u32,
    /// Pages that could not be put right.
    pub(crate) failed: u32,
    pub(crate) bad_eraseblocks: u32,
    pub(crate) table_eraseblocks: u32,
}

// SAFETY: integers of one size, so without padding.
unsafe impl Plain for EccCounts {}

/// Kernel: `struct mtd_read_req`, Linux 6.1. The addresses are those of buffers of [`read_pages`].
#[repr(C)]
struct ReadRequest {
    start: u64,
    len: u64,
    oob_len: u64,
    data: u64,
    oob: u64,
    /// 0: as the driver places spare bytes.
    mode: u8,
    zeros: [u8; 7],
    uncorrectable: u32,
    corrected: u32,
    max_bitflips: u32,
    /// What the kernel's structure has at its end too, where 64-bit integers are aligned to 8 bytes.
    padding: u32,
}

// SAFETY: integers; what the compiler would pad is a field.
unsafe impl Plain for ReadRequest {}

/// Kernel: `struct mtd_write_req`, Linux 3.1. The addresses are those of buffers of [`write_pages`].
#[repr(C)]
struct WriteRequest {
    start: u64,
    len: u64,
    oob_len: u64,
    data: u64,
    oob: u64,
    mode: u8,
    zeros: [u8; 7],
}

// SAFETY: integers, without padding: five of 8 bytes and 8 of one.
unsafe impl Plain for WriteRequest {}

/// Kernel: `struct ubi_rsvol_req`.
#[derive(Debug, Clone, Copy)]
#[repr(C, packed)]
pub(crate) struct ResizeVolumeRequest {
    pub(crate) bytes: i64,
    pub(crate) id: i32,
}

// SAFETY: integers, packed.
unsafe impl Plain for ResizeVolumeRequest {}

/// A volume and its name to be. Kernel: an entry of `struct ubi_rnvol_req`.
#[derive(Debug, Clone, Copy)]
#[repr(C, packed)]
pub(crate) struct NewName {
    pub(crate) id: i32,
    pub(crate) name_len: i16,
    pub(crate) zeros: [u8; 2],
    pub(crate) name: [u8; 128],
}

impl NewName {
    pub(crate) const NONE: Self = NewName { id: 0, name_len: 0, zeros: [0; 2], name: [0; 128] };
}

/// Most volumes that are renamed at once. Kernel: `UBI_MAX_RNVOL`.
pub(crate) const MAX_RENAMES: usize = 32;

/// Kernel: `struct ubi_rnvol_req`.
#[derive(Debug, Clone, Copy)]
#[repr(C, packed)]
pub(crate) struct RenameRequest {
    pub(crate) count: i32,
    pub(crate) zeros: [u8; 12],
    pub(crate) entries: [NewName; MAX_RENAMES],
}

// SAFETY: integers, packed.
unsafe impl Plain for RenameRequest {}

/// Kernel: `struct ubi_leb_change_req`.
#[derive(Debug, Clone, Copy)]
#[repr(C, packed)]
pub(crate) struct ChangeLebRequest {
    pub(crate) leb: i32,
    pub(crate) bytes: i32,
    /// 3: unknown, the only one that kernels still take.
    pub(crate) kind: u8,
    pub(crate) zeros: [u8; 7],
}

// SAFETY: integers, packed.
unsafe impl Plain for ChangeLebRequest {}

const UBI_ATTACH: Opcode = opcode::write::<AttachRequest>(b'o', 64);
const UBI_DETACH: Opcode = opcode::write::<i32>(b'o', 65);
const UBI_MAKE_VOLUME: Opcode = opcode::write::<MakeVolumeRequest>(b'o', 0);
const UBI_REMOVE_VOLUME: Opcode = opcode::write::<i32>(b'o', 1);
const UBI_RESIZE_VOLUME: Opcode = opcode::write::<ResizeVolumeRequest>(b'o', 2);
const UBI_RENAME: Opcode = opcode::write::<RenameRequest>(b'o', 3);
const VOLUME_UPDATE: Opcode = opcode::write::<i64>(b'O', 0);
const VOLUME_ERASE_LEB: Opcode = opcode::write::<i32>(b'O', 1);
// The number has the length of an integer, though it takes a structure.
const VOLUME_CHANGE_LEB: Opcode = opcode::write::<i32>(b'O', 2);
const VOLUME_UNMAP_LEB: Opcode = opcode::write::<i32>(b'O', 4);
const VOLUME_IS_MAPPED: Opcode = opcode::read::<i32>(b'O', 5);
const VOLUME_MAKE_BLOCK: Opcode = opcode::write::<MakeBlockRequest>(b'O', 7);
const VOLUME_REMOVE_BLOCK: Opcode = opcode::none(b'O', 8);
const MTD_IS_BAD: Opcode = opcode::write::<i64>(b'M', 11);
const MTD_MARK_BAD: Opcode = opcode::write::<i64>(b'M', 12);
const MTD_ERASE: Opcode = opcode::write::<EraseRequest>(b'M', 20);
const MTD_OLD_ERASE: Opcode = opcode::write::<OldEraseRequest>(b'M', 2);
const MTD_LOCK: Opcode = opcode::write::<OldEraseRequest>(b'M', 5);
const MTD_UNLOCK: Opcode = opcode::write::<OldEraseRequest>(b'M', 6);
const MTD_IS_LOCKED: Opcode = opcode::read::<OldEraseRequest>(b'M', 23);
const MTD_ECC_COUNTS: Opcode = opcode::read::<EccCounts>(b'M', 18);
const MTD_READ: Opcode = opcode::read_write::<ReadRequest>(b'M', 26);
const MTD_WRITE: Opcode = opcode::read_write::<WriteRequest>(b'M', 24);

struct Call<'a, const OPCODE: Opcode, T>(&'a mut T);

// SAFETY: the pointer is that of a value that lives as long as the call, of the type that the number stands for: only
// `calls!` makes these, one type for each number.
unsafe impl<const OPCODE: Opcode, T: Plain> Ioctl for Call<'_, OPCODE, T> {
    type Output = i32;

    // The kernel gives numbers back in some of them.
    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        OPCODE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut::<T>(self.0).cast()
    }

    // SAFETY: nothing is done with the pointer.
    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i32> {
        Ok(output)
    }
}

macro_rules! calls {
    ($($name:ident = $opcode:ident($type:ty)),* $(,)?) => {$(
        pub(crate) fn $name(device: &File, value: &mut $type) -> io::Result<i32> {
            // SAFETY: the number is that of a call which takes a pointer to this type, see its definition; a device of
            // another kind refuses the number.
            Ok(unsafe { rustix::ioctl::ioctl(device, Call::<$opcode, $type>(value)) }?)
        }
    )*};
}

calls! {
    ubi_attach = UBI_ATTACH(AttachRequest),
    ubi_detach = UBI_DETACH(i32),
    ubi_make_volume = UBI_MAKE_VOLUME(MakeVolumeRequest),
    ubi_remove_volume = UBI_REMOVE_VOLUME(i32),
    volume_update = VOLUME_UPDATE(i64),
    volume_make_block = VOLUME_MAKE_BLOCK(MakeBlockRequest),
    // Takes nothing; the pointer is not looked at.
    volume_remove_block = VOLUME_REMOVE_BLOCK(i32),
    ubi_resize_volume = UBI_RESIZE_VOLUME(ResizeVolumeRequest),
    ubi_rename = UBI_RENAME(RenameRequest),
    volume_erase_leb = VOLUME_ERASE_LEB(i32),
    volume_change_leb = VOLUME_CHANGE_LEB(ChangeLebRequest),
    volume_unmap_leb = VOLUME_UNMAP_LEB(i32),
    volume_is_mapped = VOLUME_IS_MAPPED(i32),
    mtd_is_bad = MTD_IS_BAD(i64),
    mtd_mark_bad = MTD_MARK_BAD(i64),
    mtd_erase = MTD_ERASE(EraseRequest),
    mtd_old_erase = MTD_OLD_ERASE(OldEraseRequest),
    mtd_lock = MTD_LOCK(OldEraseRequest),
    mtd_unlock = MTD_UNLOCK(OldEraseRequest),
    mtd_is_locked = MTD_IS_LOCKED(OldEraseRequest),
    mtd_ecc_counts = MTD_ECC_COUNTS(EccCounts),
}

/// What the error correction had to do for a call of [`read_pages`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PagesRead {
    /// Pages that could not be put right.
    pub(crate) uncorrectable: u32,
    /// Bits that were put right.
    pub(crate) corrected: u32,
    /// Most bits that were put right in one step of the correction.
    pub(crate) max_bitflips: u32,
}

/// How data and spare bytes of pages go through the error correction. Kernel: `MTD_OPS_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OobMode {
    /// Data with its correction, spare bytes as they lie.
    Place = 0,
    /// Data with its correction, only the spare bytes that are free.
    Auto = 1,
    /// Everything as it lies.
    Raw = 2,
}

/// Where a buffer is; 0 for an empty one, which the kernel takes for none.
fn address(bytes: &[u8]) -> u64 {
    // An address has at most 64 bits.
    if bytes.is_empty() { 0 } else { bytes.as_ptr().expose_provenance() as u64 }
}

/// The same for one that the kernel writes to.
fn address_mut(bytes: &mut [u8]) -> u64 {
    // An address has at most 64 bits.
    if bytes.is_empty() { 0 } else { bytes.as_mut_ptr().expose_provenance() as u64 }
}

/// Reads data, and spare bytes of as many pages as `oob` has room for, from byte `start` on. The bytes are there even when the
/// error correction gave up on some.
pub(crate) fn read_pages(
    device: &File,
    start: u64,
    data: &mut [u8],
    oob: &mut [u8],
    mode: OobMode,
) -> io::Result<PagesRead> {
    let mut request = ReadRequest {
        start,
        len: data.len() as u64,
        oob_len: oob.len() as u64,
        data: address_mut(data),
        oob: address_mut(oob),
        mode: mode as u8,
        zeros: [0; 7],
        uncorrectable: 0,
        corrected: 0,
        max_bitflips: 0,
        padding: 0,
    };
    // SAFETY: the number is that of a call that takes a pointer to this type, and writes to `data` and `oob` no more than
    // their lengths, which it is told; both are borrowed for as long as the call takes.
    match unsafe { rustix::ioctl::ioctl(device, Call::<MTD_READ, ReadRequest>(&mut request)) } {
        // Both mean that the bytes were read, and how well is in the counts.
        Ok(_) | Err(rustix::io::Errno::UCLEAN | rustix::io::Errno::BADMSG) => Ok(PagesRead {
            uncorrectable: request.uncorrectable,
            corrected: request.corrected,
            max_bitflips: request.max_bitflips,
        }),
        Err(error) => Err(error.into()),
    }
}

/// Programs data, and spare bytes, of whole pages from byte `start` on; either may be empty.
pub(crate) fn write_pages(
    device: &File,
    start: u64,
    data: &[u8],
    oob: &[u8],
    mode: OobMode,
) -> io::Result<()> {
    let mut request = WriteRequest {
        start,
        len: data.len() as u64,
        oob_len: oob.len() as u64,
        data: address(data),
        oob: address(oob),
        mode: mode as u8,
        zeros: [0; 7],
    };
    // SAFETY: the number is that of a call that takes a pointer to this type, and reads from `data` and `oob` no more than
    // their lengths, which it is told; both are borrowed for as long as the call takes.
    unsafe { rustix::ioctl::ioctl(device, Call::<MTD_WRITE, WriteRequest>(&mut request)) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_as_long_as_the_kernels() {
        assert_eq!(size_of::<AttachRequest>(), 24);
        assert_eq!(size_of::<MakeVolumeRequest>(), 152);
        assert_eq!(size_of::<MakeBlockRequest>(), 128);
        assert_eq!(size_of::<EraseRequest>(), 16);
        assert_eq!(size_of::<OldEraseRequest>(), 8);
        assert_eq!(size_of::<EccCounts>(), 16);
        assert_eq!(size_of::<ReadRequest>(), 64);
        assert_eq!(size_of::<WriteRequest>(), 48);
        assert_eq!(size_of::<ResizeVolumeRequest>(), 12);
        assert_eq!(size_of::<RenameRequest>(), 4368);
        assert_eq!(size_of::<ChangeLebRequest>(), 16);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn numbers_are_the_kernels() {
        assert_eq!(UBI_ATTACH, 0x4018_6f40);
        assert_eq!(UBI_MAKE_VOLUME, 0x4098_6f00);
        assert_eq!(VOLUME_UPDATE, 0x4008_4f00);
        assert_eq!(VOLUME_MAKE_BLOCK, 0x4080_4f07);
        assert_eq!(VOLUME_REMOVE_BLOCK, 0x4f08);
        assert_eq!(MTD_IS_BAD, 0x4008_4d0b);
        assert_eq!(MTD_ERASE, 0x4010_4d14);
        assert_eq!(MTD_OLD_ERASE, 0x4008_4d02);
        assert_eq!(MTD_LOCK, 0x4008_4d05);
        assert_eq!(MTD_UNLOCK, 0x4008_4d06);
        assert_eq!(MTD_IS_LOCKED, 0x8008_4d17);
        assert_eq!(MTD_MARK_BAD, 0x4008_4d0c);
        assert_eq!(MTD_ECC_COUNTS, 0x8010_4d12);
        assert_eq!(MTD_READ, 0xc040_4d1a);
        assert_eq!(MTD_WRITE, 0xc030_4d18);
        assert_eq!(UBI_RESIZE_VOLUME, 0x400c_6f02);
        assert_eq!(UBI_RENAME, 0x5110_6f03);
        assert_eq!(VOLUME_ERASE_LEB, 0x4004_4f01);
        assert_eq!(VOLUME_CHANGE_LEB, 0x4004_4f02);
        assert_eq!(VOLUME_UNMAP_LEB, 0x4004_4f04);
        assert_eq!(VOLUME_IS_MAPPED, 0x8004_4f05);
    }

    #[test]
    fn another_file_refuses_them() {
        let file = File::open("/dev/null").unwrap();
        assert!(mtd_is_bad(&file, &mut 0).is_err());
        assert!(ubi_detach(&file, &mut 0).is_err());
    }
}
