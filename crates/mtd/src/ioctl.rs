//! The calls that are no read and no write, and the structures they take. All `unsafe` of this workspace is here.
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

const UBI_ATTACH: Opcode = opcode::write::<AttachRequest>(b'o', 64);
const UBI_DETACH: Opcode = opcode::write::<i32>(b'o', 65);
const UBI_MAKE_VOLUME: Opcode = opcode::write::<MakeVolumeRequest>(b'o', 0);
const UBI_REMOVE_VOLUME: Opcode = opcode::write::<i32>(b'o', 1);
const VOLUME_UPDATE: Opcode = opcode::write::<i64>(b'O', 0);
const VOLUME_MAKE_BLOCK: Opcode = opcode::write::<MakeBlockRequest>(b'O', 7);
const VOLUME_REMOVE_BLOCK: Opcode = opcode::none(b'O', 8);
const MTD_IS_BAD: Opcode = opcode::write::<i64>(b'M', 11);
const MTD_ERASE: Opcode = opcode::write::<EraseRequest>(b'M', 20);

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
    mtd_is_bad = MTD_IS_BAD(i64),
    mtd_erase = MTD_ERASE(EraseRequest),
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
    }

    #[test]
    fn another_file_refuses_them() {
        let file = File::open("/dev/null").unwrap();
        assert!(mtd_is_bad(&file, &mut 0).is_err());
        assert!(ubi_detach(&file, &mut 0).is_err());
    }
}
