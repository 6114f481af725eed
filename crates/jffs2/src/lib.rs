//! JFFS2, the log-structured writable file system of small NOR and NAND flash, of either byte order.

pub mod acl;
pub mod format;
