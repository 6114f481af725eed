//! The volume table: which of its two copies holds, and what is wrong with it.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use std::collections::HashMap;

use super::finding::{BAD_WRITER, DAMAGED, Finding};
use super::geometry::{Found, table_slots};
use super::{Image, ReadError};
use crate::format::{LAYOUT_LEBS, LAYOUT_VOLUME, MAX_NAME, VolumeType, VtblRecord, vtbl_flags};

/// The volume table, or what there is of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    /// Records that are not empty, by id; `None` when no copy holds.
    pub(super) records: Option<Vec<(u32, VtblRecord)>>,
    /// What is wrong with either copy.
    pub(super) findings: Vec<Finding>,
}

impl Table {
    pub(super) fn read(image: &Image) -> Result<Self, ReadError> {
        let mut table = Table::default();
        let mut copies = Vec::new();
        for lnum in 0..LAYOUT_LEBS {
            let Some(entry) = image.resolve(LAYOUT_VOLUME, lnum)? else {
                let missing =
                    Finding::error("volume table", format!("a copy in LEB {lnum}"), "none", DAMAGED);
                table.findings.push(missing.of(LAYOUT_VOLUME, lnum));
                continue;
            };
            let offset = image.geometry.position(entry.peb, image.geometry.data_offset);
            let located = |finding: Finding| finding.at(entry.peb, offset).of(LAYOUT_VOLUME, lnum);
            match read_copy(image, entry.peb)? {
                Ok(records) => copies.push((entry.peb, records)),
                Err(findings) => table.findings.extend(findings.into_iter().map(located)),
            }
        }
        if let [(_, first), (peb, second)] = copies.as_slice()
            && first != second
        {
            let offset = image.geometry.position(*peb, image.geometry.data_offset);
            let differ = Finding::warning(
                "second copy of the volume table",
                "as the first",
                "another",
                "the kernel takes the first and writes the second again",
            );
            table.findings.push(differ.at(*peb, offset));
        }
        table.records = copies.into_iter().next().map(|(_, records)| records);
        Ok(table)
    }
}

type Copied = Result<Vec<(u32, VtblRecord)>, Vec<Finding>>;

fn read_copy(image: &Image, peb: u32) -> Result<Copied, ReadError> {
    let geometry = &image.geometry;
    let slots = table_slots(geometry);
    let mut bytes = vec![0; VtblRecord::LEN.saturating_mul(usize::try_from(slots).unwrap_or(0))];
    geometry.read(image.input.as_ref(), peb, geometry.data_offset, &mut bytes)?;
    let mut records = Vec::new();
    let mut findings = Vec::new();
    for (id, piece) in (0u32..).zip(bytes.chunks_exact(VtblRecord::LEN)) {
        match VtblRecord::parse(piece) {
            Ok(record) if record == VtblRecord::empty() => {}
            Ok(record) => records.push((id, record)),
            Err(fault) => findings.push(Finding::error(
                format!("record {id} of the volume table"),
                "a sound one",
                fault,
                DAMAGED,
            )),
        }
    }
    for (id, record) in &records {
        findings.extend(record_faults(*id, record, geometry));
    }
    findings.extend(common_faults(&records));
    Ok(if findings.is_empty() { Ok(records) } else { Err(findings) })
}

/// What the kernel refuses in a record. Kernel: `vtbl_check`.
fn record_faults(id: u32, record: &VtblRecord, geometry: &Found) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut check = |right: bool, what: &str, expected: String, found: String| {
        if !right {
            findings.push(Finding::error(format!("{what} of volume {id}"), expected, found, BAD_WRITER));
        }
    };
    let leb = geometry.leb_size();
    let VtblRecord { alignment, data_pad, reserved_pebs, .. } = *record;
    let pad = leb.checked_rem(alignment);
    check(
        reserved_pebs > 0 && i32::try_from(reserved_pebs).is_ok(),
        "size",
        "PEBs".into(),
        reserved_pebs.to_string(),
    );
    check((1..=leb).contains(&alignment), "alignment", format!("1 to {leb}"), alignment.to_string());
    check(
        pad == Some(data_pad),
        "padding",
        pad.map_or_else(|| "none".into(), |pad| pad.to_string()),
        data_pad.to_string(),
    );
    let known = VolumeType::from_flash(record.volume_type).is_some();
    check(known, "type", "1 or 2".into(), record.volume_type.to_string());
    check(record.update_marker <= 1, "update marker", "0 or 1".into(), record.update_marker.to_string());
    check(record.flags & !vtbl_flags::ALL == 0, "flags", "1 and 2".into(), format!("{:#x}", record.flags));
    let len = usize::from(record.name_len);
    let zeros = record.name.get(len..).is_some_and(|rest| rest.iter().all(|&byte| byte == 0));
    let sound = (1..=MAX_NAME).contains(&len) && zeros && !record.name().contains(&0);
    check(sound, "name", format!("1 to {MAX_NAME} bytes, then zeros"), format!("a length of {len}"));
    findings
}

/// What two records may not have in common.
fn common_faults(records: &[(u32, VtblRecord)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut names: HashMap<&[u8], u32> = HashMap::new();
    for (id, record) in records {
        if let Some(other) = names.insert(record.name(), *id) {
            let found = format!("that of volume {other}");
            findings.push(Finding::error(
                format!("name of volume {id}"),
                "one of its own",
                found,
                BAD_WRITER,
            ));
        }
    }
    let grows = |(_, record): &&(u32, VtblRecord)| record.flags & vtbl_flags::AUTORESIZE != 0;
    let growing = records.iter().filter(grows).count();
    if growing > 1 {
        let found = growing.to_string();
        findings.push(Finding::error("volumes with autoresize", "one at most", found, BAD_WRITER));
    }
    findings
}
