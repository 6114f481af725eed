//! Images that end early, change, or cannot be read.

use std::io::{self, Write};

use flashwright_flashsim::{Simulation, nand, nor};
use flashwright_plan::raw::{Options, plan_write};
use flashwright_plan::{Ending, Error, FileSource, PipeSource, Report, Source, SourceError, SourceFault};

use crate::tools::{assert_holds, holds, noise, quiet, run_with};

const SIZE: usize = 4096;

/// An image of which one read goes wrong.
struct Odd {
    image: Vec<u8>,
    reads: u32,
    odd_read: u32,
    fails: bool,
}

impl Source for Odd {
    fn len(&self) -> u64 {
        self.image.len() as u64
    }

    fn is_pipe(&self) -> bool {
        false
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), SourceError> {
        self.reads += 1;
        (&self.image[..]).read_at(offset, bytes)?;
        if self.reads == self.odd_read {
            bytes[bytes.len() / 2] ^= 0x20;
            if self.fails {
                return Err(SourceError::new(offset, SourceFault::Io(io::Error::other("bad disk"))));
            }
        }
        Ok(())
    }
}

#[test]
fn an_image_that_changes_is_noticed() {
    let image = noise(2, 4 * SIZE);
    for fails in [false, true] {
        // 4 reads for looking, 4 for writing, the first eraseblock last.
        for odd_read in 1..=8 {
            let mut flash = Simulation::new(nand(4096, 8, 512), 1);
            let old = noise(3, 4 * SIZE);
            flash.store(0, &old);
            let mut source = Odd { image: image.clone(), reads: 0, odd_read, fails };
            let (result, report) = run_with(&mut flash, &mut source, &Options::default(), &mut quiet);
            match result.unwrap_err() {
                Error::Changed { offset, len } => {
                    assert!(!fails && len == 4096);
                    // What was looked at is what is compared with: the odd read and its neighbour are equally suspect.
                    assert_eq!(offset, [0, 1, 2, 3, 1, 2, 3, 0][odd_read as usize - 1] * 4096);
                }
                Error::Source(error) => {
                    let place = [0, 1, 2, 3, 1, 2, 3, 0][odd_read as usize - 1] * 4096;
                    assert!(fails);
                    assert_eq!(error.to_string(), format!("cannot read the image at {place:#x}: bad disk"));
                }
                error => panic!("{error}"),
            }
            assert!(!holds(&flash, &image[..SIZE]));
            assert_eq!(report.erases == 0, holds(&flash, &old));
            if fails && odd_read <= 4 {
                assert_eq!(flash.operations(), 0);
            }
            let (result, _) = run_with(&mut flash, &mut &image[..], &Options::default(), &mut quiet);
            assert_eq!(result.unwrap(), Ending::Done);
            assert_holds(&flash, &image);
        }
    }
}

#[test]
fn a_file_that_grows_or_shrinks_is_noticed() {
    let image = noise(2, 3 * SIZE);
    let mut flash = Simulation::new(nor(4096, 8), 1);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&image).unwrap();
    let mut source = FileSource::new(file.try_clone().unwrap()).unwrap();
    let plan = plan_write(&mut flash, &mut source, &Options::default(), &mut quiet).unwrap();
    file.set_len(2 * 4096).unwrap();
    let error = plan.execute(&mut flash, &mut source, &mut Report::default(), &mut quiet).unwrap_err();
    assert!(
        matches!(&*error, Error::Source(error) if matches!(error.fault, SourceFault::Changed)),
        "{error}"
    );
    let mut shorter = FileSource::new(file.try_clone().unwrap()).unwrap();
    let error = plan.execute(&mut flash, &mut shorter, &mut Report::default(), &mut quiet).unwrap_err();
    assert!(matches!(*error, Error::Changed { offset: 0, len: 8192 }), "{error}");
    file.write_all(&image).unwrap();
}

#[test]
fn a_pipe_that_ends_early_says_what_was_written() {
    let image = noise(2, 5 * SIZE);
    for (bytes, written) in [(0, 0), (100, 0), (SIZE, 0), (3 * SIZE + 1, 2), (5 * SIZE - 1, 3)] {
        let mut flash = Simulation::new(nor(4096, 8), 1);
        let old = noise(3, 5 * SIZE);
        flash.store(0, &old);
        let mut input = &image[..bytes];
        let mut source = PipeSource::new(&mut input, image.len() as u64);
        let (result, report) = run_with(&mut flash, &mut source, &Options::default(), &mut quiet);
        let expected =
            format!("the image ends after {bytes} bytes of 20480: give all of it, or its right length");
        assert_eq!(result.unwrap_err().to_string(), expected);
        assert_eq!(report.written, written);
        assert_eq!(holds(&flash, &old), written == 0);
        assert_eq!(flash.content(0) == [0xff; SIZE], written > 0);
        let mut input = &image[..];
        let mut source = PipeSource::new(&mut input, image.len() as u64);
        let (result, report) = run_with(&mut flash, &mut source, &Options::default(), &mut quiet);
        assert_eq!((result.unwrap(), report.kept), (Ending::Done, written));
        assert_holds(&flash, &image);
    }
}
