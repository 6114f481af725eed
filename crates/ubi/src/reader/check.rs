//! A check of the whole image: every header, every rule of the kernel's, every byte that has a CRC.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use super::data::missing;
use super::finding::{DAMAGED, Finding, Report};
use super::scan::{Ec, Entry, PebInfo, Vid};
use super::{Image, ReadError, VolumeInfo};
use crate::contents::Contents;
use crate::format::{INTERNAL_VOLUMES, VolumeType};

const REFUSED: &str = "the kernel refuses to attach it, write the image again";

impl Image {
    /// Everything that is wrong with the image.
    ///
    /// # Errors
    /// [`ReadError::Io`].
    pub fn check(&self) -> Result<Report, ReadError> {
        let mut report = Report::default();
        self.check_file(&mut report);
        self.check_headers(&mut report)?;
        self.check_image_seqs(&mut report);
        self.table.findings.iter().cloned().for_each(|finding| report.add(finding));
        if self.table.records.is_none() {
            report.add(Finding::error("volume table", "one sound copy", "none", REFUSED));
        }
        for volume in &self.volumes {
            self.check_volume(volume, &mut report)?;
        }
        self.check_entries(&mut report)?;
        self.check_fastmap(&mut report)?;
        Ok(report)
    }

    fn check_file(&self, report: &mut Report) {
        let geometry = &self.geometry;
        if let Some(oob) = geometry.oob {
            let found = format!("{} spare bytes after each page of {}", oob.spare, oob.page_size);
            let advice = "the dump has the OOB data of the NAND in it: they are left out here; dump without them (nanddump \
                          without --oob) for other programs";
            report.add(Finding::warning("dump", "pages alone", found, advice));
        }
        if geometry.rest > 0 {
            let offset = geometry.position(geometry.peb_count, 0);
            let (expected, found) = (format!("{} bytes", geometry.stored_peb_size()), geometry.rest);
            let advice = "the file is cut off, copy or dump it again";
            report.add(Finding::error("last PEB", expected, found, advice).at(geometry.peb_count, offset));
        }
    }

    fn check_headers(&self, report: &mut Report) -> Result<(), ReadError> {
        let last =
            self.pebs.iter().rposition(|info| !info.is_foreign()).map_or(0, |last| last.saturating_add(1));
        let foreign = self.pebs.len().saturating_sub(last);
        if foreign > 0 {
            let peb = u32::try_from(last).unwrap_or(u32::MAX);
            let found = format!("{foreign} PEBs with something else");
            let advice = "left out: another partition, or damage";
            let finding = Finding::warning("end of the file", "UBI, or erased flash", found, advice);
            report.add(finding.at(peb, self.geometry.position(peb, 0)));
        }
        for (peb, info) in (0u32..).zip(self.pebs.iter().take(last)) {
            self.check_ec(peb, info, report);
            self.check_vid(peb, info, report)?;
        }
        Ok(())
    }

    fn check_ec(&self, peb: u32, info: &PebInfo, report: &mut Report) {
        let offset = self.geometry.position(peb, 0);
        let mut wrong = |expected: String, found: String, advice| {
            report.add(Finding::error("erase counter header", expected, found, advice).at(peb, offset));
        };
        match info.ec {
            Ec::Known { .. } => {}
            Ec::Erased if matches!(info.vid, Vid::Erased) => {}
            Ec::Erased => wrong("a header before the VID header".into(), "erased flash".into(), DAMAGED),
            Ec::Bad(fault) => wrong("a sound one".into(), fault.to_string(), DAMAGED),
            Ec::TooLarge(count) => wrong("at most 2147483647 erases".into(), count.to_string(), REFUSED),
            Ec::Offsets(vid, data) => {
                let own = (self.geometry.vid_hdr_offset, self.geometry.data_offset);
                let expected = format!("offsets {} and {}, as in other PEBs", own.0, own.1);
                wrong(expected, format!("{vid} and {data}"), REFUSED);
            }
        }
    }

    fn check_vid(&self, peb: u32, info: &PebInfo, report: &mut Report) -> Result<(), ReadError> {
        let offset = self.geometry.position(peb, self.geometry.vid_hdr_offset);
        let finding = match info.vid {
            Vid::Known(_) => return Ok(()),
            Vid::Erased if matches!(info.ec, Ec::Erased) && self.has_data(peb)? => {
                Finding::error("PEB", "headers, or erased flash", "data without headers", DAMAGED)
            }
            Vid::Erased if self.has_data(peb)? => Finding::warning(
                "free PEB",
                "0xff after its erase counter header",
                "something else",
                "an erase or a write was cut off; the kernel erases it before it writes",
            ),
            Vid::Erased => return Ok(()),
            Vid::Bad(fault) if !self.has_data(peb)? => Finding::warning(
                "VID header",
                "a sound one",
                fault,
                "a write was cut off before data came; the kernel erases the PEB",
            ),
            Vid::Bad(fault) => Finding::error("VID header", "a sound one", fault, DAMAGED),
            Vid::Invalid(header, what) => {
                let finding = Finding::error("VID header", "one that can be", what, REFUSED);
                finding.of(header.volume_id, header.lnum)
            }
        };
        report.add(finding.at(peb, offset));
        Ok(())
    }

    /// True when anything but 0xFF is where data would be.
    fn has_data(&self, peb: u32) -> Result<bool, ReadError> {
        let mut found = false;
        self.read_data(peb, self.geometry.leb_size(), &mut |bytes| {
            found |= bytes.iter().any(|&byte| byte != 0xff);
            Ok(())
        })?;
        Ok(found)
    }

    fn check_image_seqs(&self, report: &mut Report) {
        // 0 fits any.
        let seqs: Vec<_> = self.image_seqs().into_iter().filter(|(seq, _)| *seq != 0).collect();
        let Some(&(most, _)) = seqs.iter().max_by_key(|(_, count)| *count) else { return };
        for (peb, info) in (0u32..).zip(&self.pebs) {
            match info.ec {
                Ec::Known { image_seq, .. } if image_seq != most && image_seq != 0 => {
                    let advice =
                        "PEBs of two images: the kernel refuses them; erase the flash and write one image";
                    let (expected, found) = (format!("{most:#010x}"), format!("{image_seq:#010x}"));
                    let finding = Finding::error("image sequence number", expected, found, advice);
                    report.add(finding.at(peb, self.geometry.position(peb, 0)));
                }
                _ => {}
            }
        }
    }

    fn check_volume(&self, volume: &VolumeInfo, report: &mut Report) -> Result<(), ReadError> {
        let id = volume.id;
        if volume.update_marker {
            let advice = "its content was being replaced when the device stopped: update it again";
            report.add(Finding::error("update marker", "none", "one", advice).of_volume(id));
        }
        if volume.volume_type == VolumeType::Static {
            return self.check_static(volume, report);
        }
        let holes = volume.leb_count().saturating_sub(volume.mapped_lebs);
        if holes > 0 && !matches!(volume.contents, Contents::Ubifs(_) | Contents::Other) {
            let advice = "what is in it is never written in part: it is damaged";
            let found = format!("{holes} missing");
            report.add(Finding::warning("LEBs", "all of them", found, advice).of_volume(id));
        }
        Ok(())
    }

    fn check_static(&self, volume: &VolumeInfo, report: &mut Report) -> Result<(), ReadError> {
        // No LEB at all is an empty volume.
        if volume.mapped_lebs == 0 {
            return Ok(());
        }
        let (id, count) = (volume.id, volume.leb_count());
        if count > volume.reserved_pebs {
            let expected = format!("at most {}, as reserved", volume.reserved_pebs);
            report.add(Finding::error("LEBs used", expected, count, REFUSED).of_volume(id));
        }
        for lnum in 0..count.min(volume.reserved_pebs) {
            if self.claims(id, lnum).is_empty() {
                report.add(missing(id, lnum));
            }
            if report.more > 0 {
                break;
            }
        }
        Ok(())
    }

    fn check_entries(&self, report: &mut Report) -> Result<(), ReadError> {
        let mut volumes = self.volumes.iter().peekable();
        let mut before: Option<&Entry> = None;
        // Of the LEB that is looked at: found once, whatever the number of its copies.
        let mut holder = None;
        for entry in &self.entries {
            let id = entry.header.volume_id;
            while volumes.next_if(|volume| volume.id < id).is_some() {}
            let volume = volumes.peek().filter(|volume| volume.id == id);
            self.check_place(entry, volume.copied(), report);
            let same = before.filter(|before| before.place() == entry.place());
            if same.is_some_and(|before| before.header.sqnum == entry.header.sqnum) {
                let found = format!("{} again", entry.header.sqnum);
                let finding =
                    Finding::error("sequence number", "another for each copy of a LEB", found, REFUSED);
                report.add(self.located(finding, entry));
            }
            // A copy that lost is not looked at; one that was not finished is what a power cut leaves.
            if same.is_none() {
                holder = self.resolve(id, entry.header.lnum)?;
            }
            if holder.as_ref() == Some(entry) {
                self.data_fault(entry)?.into_iter().for_each(|finding| report.add(finding));
            } else if same.is_none() {
                let advice = "a move of this LEB was cut off; the kernel takes the older copy";
                let finding =
                    Finding::warning("newest copy", "a finished one", "a data CRC that is wrong", advice);
                report.add(self.located(finding, entry));
            }
            before = Some(entry);
        }
        Ok(())
    }

    fn located(&self, finding: Finding, entry: &Entry) -> Finding {
        let offset = self.geometry.position(entry.peb, self.geometry.vid_hdr_offset);
        finding.at(entry.peb, offset).of(entry.header.volume_id, entry.header.lnum)
    }

    /// A LEB against its volume's record. Kernel: `check_attaching_info`.
    fn check_place(&self, entry: &Entry, volume: Option<&VolumeInfo>, report: &mut Report) {
        let header = &entry.header;
        if header.volume_id >= INTERNAL_VOLUMES {
            return;
        }
        let Some(volume) = volume else {
            let advice = "an orphan: the kernel erases it";
            let finding = Finding::warning("LEB", "of a volume in the table", "of none", advice);
            report.add(self.located(finding, entry));
            return;
        };
        let mut check = |what: &str, expected: String, found: String| {
            let finding = Finding::error(what, expected, found, REFUSED);
            report.add(self.located(finding, entry));
        };
        if header.lnum >= volume.reserved_pebs {
            check(
                "LEB number",
                format!("below {}, as reserved", volume.reserved_pebs),
                header.lnum.to_string(),
            );
        }
        if header.data_pad != volume.data_pad {
            check("padding", volume.data_pad.to_string(), header.data_pad.to_string());
        }
        if header.volume_type != volume.volume_type.to_flash() {
            let word = |value| VolumeType::from_flash(value).unwrap_or_default().name().to_owned();
            check("volume type", volume.volume_type.name().into(), word(header.volume_type));
        }
        if volume.volume_type == VolumeType::Static && header.used_ebs != volume.leb_count() {
            check("LEBs used", volume.leb_count().to_string(), header.used_ebs.to_string());
        }
    }

    fn check_fastmap(&self, report: &mut Report) -> Result<(), ReadError> {
        match self.fastmap()? {
            None => {}
            Some(Err(finding)) => report.add(finding),
            Some(Ok(fastmap)) => {
                self.fastmap_faults(&fastmap).into_iter().for_each(|finding| report.add(finding))
            }
        }
        Ok(())
    }
}
