//! The little of a WebAssembly module that the checks need: what it imports and which functions it holds.
//!
//! Sections and their encoding are those of the WebAssembly core specification, chapter 5 (Binary Format).

use anyhow::{Context as _, bail, ensure};

const CUSTOM_SECTION: u8 = 0;
const IMPORT_SECTION: u8 = 2;
/// The part of the custom section `name` that names functions (core specification, appendix "Custom Sections").
const FUNCTION_NAMES: u8 = 1;

/// What a module needs from its host and what it brings.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Module {
    /// `module.name` of every import, in order.
    pub(crate) imports: Vec<String>,
    /// The names of its functions as the compiler wrote them, for people who debug.
    pub(crate) functions: Vec<String>,
}

/// Reads a module.
pub(crate) fn parse(bytes: &[u8]) -> anyhow::Result<Module> {
    let mut reader = Reader { rest: bytes };
    ensure!(
        reader.take(8)? == b"\0asm\x01\0\0\0",
        "not a WebAssembly module of version 1"
    );
    let mut module = Module::default();
    while !reader.rest.is_empty() {
        let section = reader.byte()?;
        let length = reader.unsigned()?;
        let mut content = Reader {
            rest: reader.take(length as usize)?,
        };
        match section {
            IMPORT_SECTION => {
                for _ in 0..content.unsigned()? {
                    let (from, name) = (content.name()?, content.name()?);
                    content.skip_import_type()?;
                    module.imports.push(format!("{from}.{name}"));
                }
            }
            CUSTOM_SECTION if content.name()? == "name" => {
                module.functions = content.function_names()?
            }
            _ => {}
        }
    }
    Ok(module)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> anyhow::Result<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .context("the module ends early")?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> anyhow::Result<u8> {
        Ok(self.take(1)?[0])
    }

    /// An unsigned 32-bit number in LEB128.
    fn unsigned(&mut self) -> anyhow::Result<u32> {
        let mut value = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).context("a number does not fit 32 bits");
            }
        }
        bail!("a number is too long")
    }

    fn name(&mut self) -> anyhow::Result<&'a str> {
        let length = self.unsigned()?;
        std::str::from_utf8(self.take(length as usize)?).context("a name is not UTF-8")
    }

    fn function_names(&mut self) -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        while !self.rest.is_empty() {
            let part = self.byte()?;
            let length = self.unsigned()?;
            let mut content = Reader {
                rest: self.take(length as usize)?,
            };
            if part == FUNCTION_NAMES {
                for _ in 0..content.unsigned()? {
                    content.unsigned()?;
                    names.push(content.name()?.to_owned());
                }
            }
        }
        Ok(names)
    }

    fn skip_import_type(&mut self) -> anyhow::Result<()> {
        match self.byte()? {
            // A function: the index of its type.
            0 => drop(self.unsigned()?),
            // A table: the type of its elements and its limits.
            1 => {
                self.byte()?;
                self.skip_limits()?;
            }
            // A memory: its limits.
            2 => self.skip_limits()?,
            // A global: its type and whether it changes.
            3 => drop(self.take(2)?),
            // A tag: an attribute and the index of its type.
            4 => {
                self.byte()?;
                self.unsigned()?;
            }
            kind => bail!("an import of kind {kind} is not known"),
        }
        Ok(())
    }

    fn skip_limits(&mut self) -> anyhow::Result<()> {
        let flags = self.byte()?;
        self.unsigned()?;
        if flags & 1 != 0 {
            self.unsigned()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module with these sections after its header.
    fn module(sections: &[u8]) -> Vec<u8> {
        [b"\0asm\x01\0\0\0", sections].concat()
    }

    #[test]
    fn an_empty_module_imports_nothing() {
        assert_eq!(parse(&module(&[])).expect("a module"), Module::default());
    }

    #[test]
    fn every_kind_of_import_is_named() {
        let mut content = vec![4];
        for (name, kind) in [
            ("f", &[0, 5][..]),
            ("t", &[1, 0x70, 1, 1, 2]),
            ("m", &[2, 0, 17]),
            ("g", &[3, 0x7f, 1]),
        ] {
            content.extend([3]);
            content.extend(b"env");
            content.extend([1]);
            content.extend(name.bytes());
            content.extend(kind);
        }
        // Another custom section first and the names last, as linkers write them.
        let mut sections = vec![
            CUSTOM_SECTION,
            2,
            1,
            b'x',
            IMPORT_SECTION,
            u8::try_from(content.len()).expect("a short section"),
        ];
        sections.extend(content);
        sections.extend(b"\x00\x14\x04name\x00\x02\x01m\x01\x09\x02\x01\x02f1\x02\x02f2");
        assert_eq!(
            parse(&module(&sections)).expect("a module"),
            Module {
                imports: ["env.f", "env.t", "env.m", "env.g"]
                    .map(str::to_owned)
                    .to_vec(),
                functions: ["f1", "f2"].map(str::to_owned).to_vec(),
            }
        );
    }

    #[test]
    fn what_is_no_module_is_refused() {
        for bytes in [
            &b""[..],
            b"\0asm",
            b"\0asm\x02\0\0\0",
            &module(&[2, 9, 1]),
            &module(&[2, 0x80, 0x80, 0x80, 0x80, 0x80]),
        ] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
    }
}
