//! NOR and NAND flash as they really behave, for tests.
