use std::{
    borrow::{Cow, ToOwned as _},
    cell::OnceCell,
    ffi::{CStr, FromBytesUntilNulError},
    format, mem, ptr,
};

use bytes::BufMut as _;
use log::debug;
use object::{Endian as _, Endianness, SectionIndex};

use crate::{
    Object,
    btf::{
        Array, BtfEnum, BtfEnum64, BtfKind, BtfMember, BtfType, Const, DataSec, DataSecEntry, Enum,
        Enum64, Enum64Fallback, Enum64VariantFallback, FuncInfo, FuncLinkage, Int, IntEncoding,
        LineInfo, Struct, Typedef, Union, Var, VarLinkage,
        info::{FuncSecInfo, LineSecInfo},
        relocation::Relocation,
    },
    extern_types::ExternCollection,
    generated::{bpf_core_relo, bpf_func_info, bpf_line_info, btf_ext_header, btf_header},
    util::{HashMap, bytes_of},
};

pub(crate) const MAX_RESOLVE_DEPTH: usize = 32;
pub(crate) const MAX_SPEC_LEN: usize = 64;

/// The error type returned when `BTF` operations fail.
#[derive(thiserror::Error, Debug)]
pub enum BtfError {
    /// Error parsing file
    #[error("error parsing {path}")]
    FileError {
        /// file path
        path: std::path::PathBuf,
        /// source of the error
        #[source]
        error: std::io::Error,
    },

    /// Error parsing BTF header
    #[error("error parsing BTF header")]
    InvalidHeader,

    /// invalid BTF type info segment
    #[error("invalid BTF type info segment")]
    InvalidTypeInfo,

    /// invalid BTF relocation info segment
    #[error("invalid BTF relocation info segment")]
    InvalidRelocationInfo,

    /// invalid BTF type kind
    #[error("invalid BTF type kind `{kind}`")]
    InvalidTypeKind {
        /// type kind
        kind: u32,
    },

    /// invalid BTF relocation kind
    #[error("invalid BTF relocation kind `{kind}`")]
    InvalidRelocationKind {
        /// type kind
        kind: u32,
    },

    /// invalid BTF string offset
    #[error("invalid BTF string offset: {offset}")]
    InvalidStringOffset {
        /// offset
        offset: usize,
    },

    /// invalid BTF info
    #[error("invalid BTF info, offset: {offset} len: {len} section_len: {section_len}")]
    InvalidInfo {
        /// offset
        offset: usize,
        /// length
        len: usize,
        /// section length
        section_len: usize,
    },

    /// invalid BTF line infos
    #[error("invalid BTF line info, offset: {offset} len: {len} section_len: {section_len}")]
    InvalidLineInfo {
        /// offset
        offset: usize,
        /// length
        len: usize,
        /// section length
        section_len: usize,
    },

    /// unknown BTF type id
    #[error("unknown BTF type id `{type_id}`")]
    UnknownBtfType {
        /// type id
        type_id: u32,
    },

    /// unexpected btf type id
    #[error("unexpected BTF type id `{type_id}`")]
    UnexpectedBtfType {
        /// type id
        type_id: u32,
    },

    /// unknown BTF type
    #[error("unknown BTF type `{type_name}`")]
    UnknownBtfTypeName {
        /// type name
        type_name: String,
    },

    /// maximum depth reached resolving BTF type
    #[error("maximum depth reached resolving BTF type")]
    MaximumTypeDepthReached {
        /// type id
        type_id: u32,
    },

    /// Loading the btf failed
    #[error("the BPF_BTF_LOAD syscall returned {io_error}. Verifier output: {verifier_log}")]
    LoadError {
        /// The [`std::io::Error`] returned by the `BPF_BTF_LOAD` syscall.
        #[source]
        io_error: std::io::Error,
        /// The error log produced by the kernel verifier.
        verifier_log: crate::VerifierLog,
    },

    /// offset not found for symbol
    #[error("Offset not found for symbol `{symbol_name}`")]
    SymbolOffsetNotFound {
        /// name of the symbol
        symbol_name: String,
    },

    /// btf type that is not VAR found in DATASEC
    #[error("BTF type that is not VAR was found in DATASEC")]
    InvalidDatasec,

    /// unable to determine the size of section
    #[error("Unable to determine the size of section `{section_name}`")]
    UnknownSectionSize {
        /// name of the section
        section_name: String,
    },

    /// unable to get symbol name
    #[error("Unable to get symbol name")]
    InvalidSymbolName,

    /// Inner map definition cannot be pinned.
    #[error("BTF map `{name}`: inner map definition cannot be pinned")]
    InnerMapCannotBePinned {
        /// The name of the map with the invalid definition.
        name: String,
    },

    /// Multi-level map-in-map is not supported.
    #[error("BTF map `{name}`: multi-level map-in-map is not supported")]
    MultiLevelMapInMapNotSupported {
        /// The name of the map with the invalid definition.
        name: String,
    },

    /// The `values` spec must be a zero-sized array.
    #[error("BTF map `{name}`: `values` spec is not a zero-sized array")]
    InvalidValuesSpec {
        /// The name of the map with the invalid definition.
        name: String,
    },
}

/// A kernel BTF capability that may be needed while sanitizing BTF data.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum BtfFeature {
    /// `BTF_KIND_FUNC` and `BTF_KIND_FUNC_PROTO`.
    Func,
    /// Global `BTF_KIND_FUNC` linkage.
    FuncGlobal,
    /// `BTF_KIND_VAR` and `BTF_KIND_DATASEC`.
    DataSec,
    /// `BTF_KIND_DATASEC` types with zero entries.
    DataSecZero,
    /// `BTF_KIND_FLOAT`.
    Float,
    /// `BTF_KIND_DECL_TAG`.
    DeclTag,
    /// `BTF_KIND_TYPE_TAG`.
    TypeTag,
    /// `BTF_KIND_ENUM64` and signed `BTF_KIND_ENUM`.
    Enum64,
}

struct BtfFeatureResolver<F> {
    is_feature_supported: F,
    cache: HashMap<BtfFeature, bool>,
}

impl<F> BtfFeatureResolver<F> {
    fn new(is_feature_supported: F) -> Self {
        Self {
            is_feature_supported,
            cache: HashMap::new(),
        }
    }

    fn is_supported(&mut self, feature: BtfFeature) -> bool
    where
        F: FnMut(BtfFeature) -> bool,
    {
        let Self {
            is_feature_supported,
            cache,
        } = self;

        *cache
            .entry(feature)
            .or_insert_with(|| is_feature_supported(feature))
    }
}

/// BPF Type Format metadata.
///
/// BTF is a kind of debug metadata that allows eBPF programs compiled against one kernel version
/// to be loaded into different kernel versions.
///
/// Aya automatically loads BTF metadata if you use `Ebpf::load_file`. You
/// only need to explicitly use this type if you want to load BTF from a non-standard
/// location or if you are using `Ebpf::load`.
#[derive(Clone, Debug)]
pub struct Btf {
    header: btf_header,
    strings: Vec<u8>,
    types: BtfTypes,
    _endianness: Endianness,
    /// Extern symbols parsed from the `.ksyms` section.
    pub(crate) externs: ExternCollection,
}

fn add_type(header: &mut btf_header, types: &mut BtfTypes, btf_type: BtfType) -> u32 {
    let size = btf_type.type_info_size() as u32;
    let type_id = types.len();
    types.push(btf_type);
    header.type_len += size;
    header.str_off += size;
    type_id as u32
}

impl Btf {
    /// Creates a new empty instance with its header initialized
    pub fn new() -> Self {
        Self {
            header: btf_header {
                magic: 0xeb9f,
                version: 0x01,
                flags: 0x00,
                hdr_len: 0x18,
                type_off: 0x00,
                type_len: 0x00,
                str_off: 0x00,
                str_len: 0x00,
            },
            strings: vec![0],
            types: BtfTypes::default(),
            _endianness: Endianness::default(),
            externs: ExternCollection::new(),
        }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        // the first one is awlays BtfType::Unknown
        self.types.types.len() < 2
    }

    pub(crate) fn types(&self) -> impl Iterator<Item = &BtfType> {
        self.types.types.iter()
    }

    /// Adds a string to BTF metadata, returning an offset
    pub fn add_string(&mut self, name: &str) -> u32 {
        let str = name.bytes().chain(core::iter::once(0));
        let name_offset = self.strings.len();
        self.strings.extend(str);
        self.header.str_len = self.strings.len() as u32;
        name_offset as u32
    }

    /// Adds a type to BTF metadata, returning a type id
    pub fn add_type(&mut self, btf_type: BtfType) -> u32 {
        add_type(&mut self.header, &mut self.types, btf_type)
    }

    /// Loads BTF metadata from `/sys/kernel/btf/vmlinux`.
    pub fn from_sys_fs() -> Result<Self, BtfError> {
        Self::parse_file("/sys/kernel/btf/vmlinux", Endianness::default())
    }

    /// Loads BTF metadata from the given `path`.
    pub fn parse_file<P: AsRef<std::path::Path>>(
        path: P,
        endianness: Endianness,
    ) -> Result<Self, BtfError> {
        use std::{borrow::ToOwned as _, fs};
        let path = path.as_ref();
        Self::parse(
            &fs::read(path).map_err(|error| BtfError::FileError {
                path: path.to_owned(),
                error,
            })?,
            endianness,
        )
    }

    /// Parses BTF from binary data of the given endianness
    pub fn parse(data: &[u8], endianness: Endianness) -> Result<Self, BtfError> {
        if data.len() < size_of::<btf_header>() {
            return Err(BtfError::InvalidHeader);
        }

        // safety: btf_header is POD so read_unaligned is safe
        let header = unsafe { read_btf_header(data) };

        let str_off = header.hdr_len as usize + header.str_off as usize;
        let str_len = header.str_len as usize;
        if str_off + str_len > data.len() {
            return Err(BtfError::InvalidHeader);
        }

        let strings = data[str_off..str_off + str_len].to_vec();
        let types = Self::read_type_info(&header, data, endianness)?;

        Ok(Self {
            header,
            strings,
            types,
            _endianness: endianness,
            externs: ExternCollection::new(),
        })
    }

    fn read_type_info(
        header: &btf_header,
        data: &[u8],
        endianness: Endianness,
    ) -> Result<BtfTypes, BtfError> {
        let hdr_len = header.hdr_len as usize;
        let type_off = header.type_off as usize;
        let type_len = header.type_len as usize;
        let base = hdr_len + type_off;
        if base + type_len > data.len() {
            return Err(BtfError::InvalidTypeInfo);
        }

        let mut data = &data[base..base + type_len];
        let mut types = BtfTypes::default();
        while !data.is_empty() {
            // Safety:
            // read() reads POD values from ELF, which is sound, but the values can still contain
            // internally inconsistent values (like out of bound offsets and such).
            let ty = unsafe { BtfType::read(data, endianness)? };
            data = &data[ty.type_info_size()..];
            types.push(ty);
        }
        Ok(types)
    }

    pub(crate) fn string_at(&self, offset: u32) -> Result<Cow<'_, str>, BtfError> {
        let Self {
            header: _,
            strings,
            types: _,
            _endianness,
            externs: _,
        } = self;

        let offset = offset as usize;
        let err = || BtfError::InvalidStringOffset { offset };
        let s = strings.get(offset..).ok_or_else(err)?;
        let s = CStr::from_bytes_until_nul(s).map_err(|FromBytesUntilNulError { .. }| err())?;

        Ok(s.to_string_lossy())
    }

    pub(crate) fn type_by_id(&self, type_id: u32) -> Result<&BtfType, BtfError> {
        self.types.type_by_id(type_id)
    }

    pub(crate) fn resolve_type(&self, root_type_id: u32) -> Result<u32, BtfError> {
        self.types.resolve_type(root_type_id)
    }

    pub(crate) fn type_name(&self, ty: &BtfType) -> Result<Cow<'_, str>, BtfError> {
        self.string_at(ty.name_offset())
    }

    pub(crate) fn err_type_name(&self, ty: &BtfType) -> Option<String> {
        self.string_at(ty.name_offset()).ok().map(String::from)
    }

    /// Returns a type id matching the type name and [`BtfKind`].
    pub fn id_by_type_name_kind(&self, name: &str, kind: BtfKind) -> Result<u32, BtfError> {
        for (type_id, ty) in self.types().enumerate() {
            if ty.kind() != kind {
                continue;
            }
            if self.type_name(ty)? == name {
                return Ok(type_id as u32);
            }
        }

        Err(BtfError::UnknownBtfTypeName {
            type_name: name.to_owned(),
        })
    }

    pub(crate) fn type_size(&self, root_type_id: u32) -> Result<usize, BtfError> {
        let mut type_id = root_type_id;
        let mut n_elems: u32 = 1;
        for () in core::iter::repeat_n((), MAX_RESOLVE_DEPTH) {
            let ty = self.types.type_by_id(type_id)?;
            let size = match ty {
                BtfType::Array(Array { array, .. }) => {
                    n_elems = n_elems
                        .checked_mul(array.len)
                        .ok_or(BtfError::InvalidTypeInfo)?;
                    type_id = array.element_type;
                    continue;
                }
                other => {
                    if let Some(size) = other.size() {
                        size
                    } else if let Some(next) = other.btf_type() {
                        type_id = next;
                        continue;
                    } else {
                        return Err(BtfError::UnexpectedBtfType { type_id });
                    }
                }
            };
            return size
                .checked_mul(n_elems)
                .map(|size| size as usize)
                .ok_or(BtfError::InvalidTypeInfo);
        }

        Err(BtfError::MaximumTypeDepthReached {
            type_id: root_type_id,
        })
    }

    /// Encodes the metadata as BTF format
    pub fn to_bytes(&self) -> Vec<u8> {
        // Safety: btf_header is POD
        let mut buf = unsafe { bytes_of::<btf_header>(&self.header).to_vec() };
        buf.extend(self.types.to_bytes());
        buf.put(self.strings.as_slice());
        buf
    }

    // This follows the same logic as libbpf's bpf_object__sanitize_btf() function.
    // https://github.com/libbpf/libbpf/blob/05f94ddbb/src/libbpf.c#L2701
    //
    // Fixup: The loader needs to adjust values in the BTF before it's loaded into the kernel.
    // Sanitize: Replace an unsupported BTF type with a placeholder type.
    //
    // In addition to the libbpf logic, it performs some fixups to the BTF generated by bpf-linker
    // for Aya programs. These fixups are gradually moving into bpf-linker itself.
    pub(crate) fn fixup_and_sanitize<F>(
        &mut self,
        section_infos: &HashMap<String, (SectionIndex, u64)>,
        symbol_offsets: &HashMap<String, u64>,
        feature_supported: F,
    ) -> Result<(), BtfError>
    where
        F: FnMut(BtfFeature) -> bool,
    {
        if !self.externs.is_empty() {
            let datasec_id = self
                .externs
                .datasec_id
                .expect("non-empty externs must have datasec_id");
            self.fixup_ksyms_datasec(datasec_id, self.externs.ksym_func_placeholder_id)?;
        }
        let enum64_placeholder_id = OnceCell::new();
        let filler_var_id = OnceCell::new();
        let mut features = BtfFeatureResolver::new(feature_supported);
        let mut types = mem::take(&mut self.types);
        for i in 0..types.types.len() {
            let t = &mut types.types[i];
            let kind = t.kind();
            match t {
                // Fixup PTR for Rust.
                //
                // LLVM emits names for Rust pointer types, which the kernel doesn't like.
                // While I figure out if this needs fixing in the Kernel or LLVM, we'll
                // do a fixup here.
                BtfType::Ptr(ptr) => {
                    ptr.name_offset = 0;
                }
                // Sanitize VAR if they are not supported.
                BtfType::Var(v) if !features.is_supported(BtfFeature::DataSec) => {
                    *t = BtfType::Int(Int::new(v.name_offset, 1, IntEncoding::None, 0));
                }
                // Sanitize DATASEC if they are not supported.
                BtfType::DataSec(d) if !features.is_supported(BtfFeature::DataSec) => {
                    debug!("{kind}: not supported. replacing with STRUCT");

                    // STRUCT aren't allowed to have "." in their name, fixup this if needed.
                    let mut name_offset = d.name_offset;
                    let name = self.string_at(name_offset)?;

                    // Handle any "." characters in struct names.
                    // Example: ".maps"
                    let fixed_name = name.replace('.', "_");
                    if fixed_name != name {
                        name_offset = self.add_string(&fixed_name);
                    }

                    let entries = mem::take(&mut d.entries);

                    let members = entries
                        .iter()
                        .map(|e| {
                            let mt = types.type_by_id(e.btf_type).unwrap();
                            BtfMember {
                                name_offset: mt.name_offset(),
                                btf_type: e.btf_type,
                                offset: e.offset * 8,
                            }
                        })
                        .collect();

                    // Must reborrow here because we borrow `types` immutably above.
                    let t = &mut types.types[i];
                    *t = BtfType::Struct(Struct::new(name_offset, members, entries.len() as u32));
                }
                // Fixup DATASEC.
                //
                // DATASEC sizes aren't always set by LLVM so we need to fix them
                // here before loading the btf to the kernel.
                BtfType::DataSec(d) if features.is_supported(BtfFeature::DataSec) => {
                    // Start DataSec Fixups
                    let name = self.string_at(d.name_offset)?;
                    let name = name.into_owned();

                    // Handle any "/" characters in section names.
                    // Example: "maps/hashmap"
                    let fixed_name = name.replace('/', ".");
                    if fixed_name != name {
                        d.name_offset = self.add_string(&fixed_name);
                    }

                    // There are some cases when the compiler does indeed populate the size.
                    if d.size > 0 {
                        debug!("{kind} {name}: size fixup not required");
                    } else {
                        // We need to get the size of the section from the ELF file.
                        // Fortunately, we cached these when parsing it initially
                        // and we can this up by name in section_infos.
                        let Some((_, size)) = section_infos.get(&name) else {
                            return Err(BtfError::UnknownSectionSize { section_name: name });
                        };
                        debug!("{kind} {name}: fixup size to {size}");
                        d.size = *size as u32;

                        // The Vec<btf_var_secinfo> contains BTF_KIND_VAR sections
                        // that need to have their offsets adjusted. To do this,
                        // we need to get the offset from the ELF file.
                        // This was also cached during initial parsing and
                        // we can query by name in symbol_offsets.
                        let old_size = d.type_info_size();
                        let mut entries = mem::take(&mut d.entries);
                        let mut section_size = d.size;
                        let name_offset = d.name_offset;

                        // For a DATASEC with zero entries, inject a filler in either case:
                        // 1. Its section size is zero. The kernel rejects zero-sized DATASECs,
                        //    so the filler makes the size non-zero.
                        //    https://github.com/torvalds/linux/blob/9f4ad9e42/kernel/bpf/btf.c#L3543-L3546
                        // 2. Its section size is non-zero, but the kernel does not support
                        //    zero-entry DATASECs, as on kernels before Linux 5.12.
                        //    https://github.com/torvalds/linux/commit/13ca51d5e
                        if entries.is_empty()
                            && (section_size == 0
                                || !features.is_supported(BtfFeature::DataSecZero))
                        {
                            let filler_var_id = *filler_var_id.get_or_init(|| {
                                let filler_type_name = self.add_string("__aya_datasec_filler_type");
                                let filler_type_id = add_type(
                                    &mut self.header,
                                    &mut types,
                                    BtfType::Int(Int::new(
                                        filler_type_name,
                                        1,
                                        IntEncoding::None,
                                        0,
                                    )),
                                );

                                let filler_var_name = self.add_string("__aya_datasec_filler");
                                add_type(
                                    &mut self.header,
                                    &mut types,
                                    BtfType::Var(Var::new(
                                        filler_var_name,
                                        filler_type_id,
                                        VarLinkage::Static,
                                    )),
                                )
                            });
                            let filler_len = section_size.max(1);
                            debug!(
                                "{kind} {name}: injecting filler entry for zero-entry DATASEC (len={filler_len})"
                            );
                            entries.push(DataSecEntry {
                                btf_type: filler_var_id,
                                offset: 0,
                                size: filler_len,
                            });
                            if section_size == 0 {
                                section_size = filler_len;
                            }
                        }

                        for e in &mut entries {
                            if let BtfType::Var(var) = types.type_by_id(e.btf_type)? {
                                let var_name = self.string_at(var.name_offset)?;
                                if var.linkage == VarLinkage::Static {
                                    debug!("{kind} {name}: VAR {var_name}: fixup not required");
                                    continue;
                                }

                                let Some(offset) = symbol_offsets.get(var_name.as_ref()) else {
                                    return Err(BtfError::SymbolOffsetNotFound {
                                        symbol_name: var_name.into_owned(),
                                    });
                                };
                                e.offset = *offset as u32;
                                debug!("{kind} {name}: VAR {var_name}: fixup offset {offset}");
                            } else {
                                return Err(BtfError::InvalidDatasec);
                            }
                        }
                        let fixed_section = DataSec::new(name_offset, entries, section_size);
                        let new_size = fixed_section.type_info_size();
                        if new_size != old_size {
                            self.header.type_len =
                                self.header.type_len - old_size as u32 + new_size as u32;
                            self.header.str_off = self.header.type_len;
                        }

                        // Must reborrow here because we borrow `types` above.
                        let t = &mut types.types[i];
                        *t = BtfType::DataSec(fixed_section);
                    }
                }
                // Fixup FUNC_PROTO.
                BtfType::FuncProto(ty) if features.is_supported(BtfFeature::Func) => {
                    for (i, param) in ty.params.iter_mut().enumerate() {
                        if param.name_offset == 0 && param.btf_type != 0 {
                            param.name_offset = self.add_string(&format!("param{i}"));
                        }
                    }
                }
                // Sanitize FUNC_PROTO.
                BtfType::FuncProto(ty) if !features.is_supported(BtfFeature::Func) => {
                    debug!("{kind}: not supported. replacing with ENUM");
                    let members: Vec<BtfEnum> = ty
                        .params
                        .iter()
                        .map(|p| BtfEnum {
                            name_offset: p.name_offset,
                            value: p.btf_type,
                        })
                        .collect();
                    let enum_type = BtfType::Enum(Enum::new(ty.name_offset, false, members));
                    *t = enum_type;
                }
                // Sanitize FUNC.
                BtfType::Func(ty) => {
                    let name = self.string_at(ty.name_offset)?;
                    // Sanitize FUNC.
                    if !features.is_supported(BtfFeature::Func) {
                        debug!("{kind}: not supported. replacing with TYPEDEF");
                        *t = BtfType::Typedef(Typedef::new(ty.name_offset, ty.btf_type));
                    } else if ty.linkage() == FuncLinkage::Global {
                        // Sanitize BTF_FUNC_GLOBAL when not supported and ensure that
                        // memory builtins are marked as static. Globals are type checked
                        // and verified separately from their callers, while instead we
                        // want tracking info (eg bound checks) to be propagated to the
                        // memory builtins.
                        if matches!(name.as_ref(), "memset" | "memcpy" | "memmove" | "memcmp") {
                            debug!("changing FUNC {name} linkage to BTF_FUNC_STATIC");
                            ty.set_linkage(FuncLinkage::Static);
                        } else if !features.is_supported(BtfFeature::FuncGlobal) {
                            debug!(
                                "{kind}: BTF_FUNC_GLOBAL not supported. replacing with BTF_FUNC_STATIC",
                            );
                            ty.set_linkage(FuncLinkage::Static);
                        }
                    }
                }
                // Sanitize FLOAT.
                BtfType::Float(ty) if !features.is_supported(BtfFeature::Float) => {
                    debug!("{kind}: not supported. replacing with STRUCT");
                    *t = BtfType::Struct(Struct::new(0, vec![], ty.size));
                }
                // Sanitize DECL_TAG.
                BtfType::DeclTag(ty) if !features.is_supported(BtfFeature::DeclTag) => {
                    debug!("{kind}: not supported. replacing with INT");
                    *t = BtfType::Int(Int::new(ty.name_offset, 1, IntEncoding::None, 0));
                }
                // Sanitize TYPE_TAG.
                BtfType::TypeTag(ty) if !features.is_supported(BtfFeature::TypeTag) => {
                    debug!("{kind}: not supported. replacing with CONST");
                    *t = BtfType::Const(Const::new(ty.btf_type));
                }
                // Sanitize Signed ENUMs.
                BtfType::Enum(ty)
                    if !features.is_supported(BtfFeature::Enum64) && ty.is_signed() =>
                {
                    debug!("{kind}: signed ENUMs not supported. Marking as unsigned");
                    ty.set_signed(false);
                }
                // Sanitize ENUM64.
                BtfType::Enum64(ty) if !features.is_supported(BtfFeature::Enum64) => {
                    // Kernels before 6.0 do not support ENUM64. See
                    // https://github.com/torvalds/linux/commit/6089fb325.
                    debug!("{kind}: not supported. replacing with UNION");

                    // `ty` is borrowed from `types` and we use that borrow
                    // below, so we must not borrow it again in the
                    // get_or_init closure.
                    let is_signed = ty.is_signed();
                    let Enum64 {
                        name_offset,
                        size,
                        variants,
                        ..
                    } = ty;
                    let (name_offset, size, variants) = (*name_offset, *size, mem::take(variants));

                    let fallback = Enum64Fallback {
                        signed: is_signed,
                        variants: variants
                            .iter()
                            .copied()
                            .map(
                                |BtfEnum64 {
                                     name_offset,
                                     value_high,
                                     value_low,
                                 }| Enum64VariantFallback {
                                    name_offset,
                                    value: (u64::from(value_high) << 32) | u64::from(value_low),
                                },
                            )
                            .collect(),
                    };

                    // The rewritten UNION still needs a concrete member type. Share a single
                    // synthetic INT placeholder between every downgraded ENUM64.
                    let placeholder_id = enum64_placeholder_id.get_or_init(|| {
                        let placeholder_name = self.add_string("enum64_placeholder");
                        add_type(
                            &mut self.header,
                            &mut types,
                            BtfType::Int(Int::new(placeholder_name, 1, IntEncoding::None, 0)),
                        )
                    });
                    let members: Vec<BtfMember> = variants
                        .iter()
                        .map(|v| BtfMember {
                            name_offset: v.name_offset,
                            btf_type: *placeholder_id,
                            offset: 0,
                        })
                        .collect();

                    // Must reborrow here because we borrow `types` above.
                    let t = &mut types.types[i];
                    *t = BtfType::Union(Union::new(name_offset, size, members, Some(fallback)));
                }
                // The type does not need fixing up or sanitization.
                _ => {}
            }
        }
        self.types = types;
        Ok(())
    }

    /// Fixes up BTF for `.ksyms` datasec entries containing extern kernel symbols and
    /// makes it acceptable by the kernel:
    ///
    /// * Changes linkage of extern functions to `GLOBAL`, fixes parameter names, injects
    ///   a placeholder variable representing them in datasec.
    /// * Changes linkage of extern variables to `GLOBAL`, replaces their type
    ///   with `int`.
    pub(crate) fn fixup_ksyms_datasec(
        &mut self,
        datasec_id: u32,
        ksym_func_placeholder_id: Option<u32>,
    ) -> Result<(), BtfError> {
        // Use the placeholder var's name/type when present; otherwise fall back to a plain
        // 4-byte int for `.ksyms` datasec fixup.
        let (placeholder_name_offset, int_btf_id) =
            if let Some(placeholder_id) = ksym_func_placeholder_id {
                let placeholder_type = &self.types.types[placeholder_id as usize];
                if let BtfType::Var(v) = placeholder_type {
                    (Some(v.name_offset), v.btf_type)
                } else {
                    return Err(BtfError::InvalidDatasec);
                }
            } else {
                let int_id = self
                    .types
                    .types
                    .iter()
                    .enumerate()
                    .find_map(|(idx, t)| {
                        if let BtfType::Int(int_type) = t {
                            (int_type.size == 4).then_some(idx as u32)
                        } else {
                            None
                        }
                    })
                    .unwrap_or_else(|| {
                        let name_offset = self.add_string("int");
                        self.add_type(BtfType::Int(Int::new(
                            name_offset,
                            4,
                            IntEncoding::Signed,
                            0,
                        )))
                    });

                (None, int_id)
            };

        let datasec_name = {
            let datasec = &self.types.types[datasec_id as usize];
            let BtfType::DataSec(d) = datasec else {
                return Err(BtfError::InvalidDatasec);
            };
            self.string_at(d.name_offset)?.into_owned()
        };

        debug!("DATASEC {datasec_name}: fixing up extern ksyms");

        let entry_type_ids: Vec<u32> = {
            let BtfType::DataSec(d) = &self.types.types[datasec_id as usize] else {
                return Err(BtfError::InvalidDatasec);
            };
            d.entries.iter().map(|e| e.btf_type).collect()
        };

        let mut offset = 0u32;
        let size = size_of::<i32>() as u32;

        for (i, &type_id) in entry_type_ids.iter().enumerate() {
            match &self.types.types[type_id as usize] {
                BtfType::Func(f) => {
                    let (func_name, proto_id) =
                        { (self.string_at(f.name_offset)?.into_owned(), f.btf_type) };

                    if let BtfType::Func(f) = &mut self.types.types[type_id as usize] {
                        f.set_linkage(FuncLinkage::Global);
                    }

                    if let Some(placeholder_name_offset) = placeholder_name_offset
                        && let BtfType::FuncProto(func_proto) =
                            &mut self.types.types[proto_id as usize]
                    {
                        for param in &mut func_proto.params {
                            if param.btf_type != 0 && param.name_offset == 0 {
                                param.name_offset = placeholder_name_offset;
                            }
                        }
                    }

                    if let (Some(placeholder_id), BtfType::DataSec(d)) = (
                        ksym_func_placeholder_id,
                        &mut self.types.types[datasec_id as usize],
                    ) {
                        d.entries[i].btf_type = placeholder_id;
                    }

                    debug!("DATASEC {datasec_name}: FUNC {func_name}: fixup offset {offset}");
                }
                BtfType::Var(v) => {
                    let var_name = { self.string_at(v.name_offset)?.into_owned() };

                    if let BtfType::Var(v) = &mut self.types.types[type_id as usize] {
                        v.linkage = VarLinkage::Global;
                        v.btf_type = int_btf_id;
                    }

                    debug!("DATASEC {datasec_name}: VAR {var_name}: fixup offset {offset}");
                }
                _ => return Err(BtfError::InvalidDatasec),
            }

            let BtfType::DataSec(d) = &mut self.types.types[datasec_id as usize] else {
                return Err(BtfError::InvalidDatasec);
            };
            d.entries[i].offset = offset;
            d.entries[i].size = size;

            offset += size;
        }

        if let BtfType::DataSec(d) = &mut self.types.types[datasec_id as usize] {
            d.size = offset;
            debug!("DATASEC {datasec_name}: fixup size to {offset}");
        }

        Ok(())
    }
}

impl Default for Btf {
    fn default() -> Self {
        Self::new()
    }
}

impl Object {
    /// Fixes up and sanitizes BTF data.
    ///
    /// Mostly, it removes unsupported types and works around LLVM behaviours.
    /// `feature_supported` is called only when the object contains non-empty BTF data. The
    /// predicate it returns is called only when that BTF data requires a feature, and at most once
    /// for each required feature.
    pub fn fixup_and_sanitize_btf<F>(
        &mut self,
        feature_supported: impl FnOnce() -> Option<F>,
    ) -> Result<Option<&Btf>, BtfError>
    where
        F: FnMut(BtfFeature) -> bool,
    {
        if let Some(obj_btf) = &mut self.btf {
            if obj_btf.is_empty() {
                return Ok(None);
            }
            let Some(feature_supported) = feature_supported() else {
                return Ok(None);
            };
            // fixup btf
            obj_btf.fixup_and_sanitize(
                &self.section_infos,
                &self.symbol_offset_by_name,
                feature_supported,
            )?;
            Ok(Some(obj_btf))
        } else {
            Ok(None)
        }
    }
}

const unsafe fn read_btf_header(data: &[u8]) -> btf_header {
    // Safety: Btf_header is POD so read_unaligned is safe
    unsafe { ptr::read_unaligned(data.as_ptr().cast()) }
}

/// Data in the `.BTF.ext` section
#[derive(Debug, Clone)]
pub struct BtfExt {
    data: Vec<u8>,
    _endianness: Endianness,
    relocations: Vec<(u32, Vec<Relocation>)>,
    header: btf_ext_header,
    func_info_rec_size: usize,
    pub(crate) func_info: FuncInfo,
    line_info_rec_size: usize,
    pub(crate) line_info: LineInfo,
    core_relo_rec_size: usize,
}

impl BtfExt {
    pub(crate) fn parse(data: &[u8], endianness: Endianness, btf: &Btf) -> Result<Self, BtfError> {
        #[repr(C)]
        #[derive(Debug, Copy, Clone)]
        struct MinimalHeader {
            pub magic: u16,
            pub version: u8,
            pub flags: u8,
            pub hdr_len: u32,
        }

        if data.len() < size_of::<MinimalHeader>() {
            return Err(BtfError::InvalidHeader);
        }

        let header = {
            // first find the actual size of the header by converting into the minimal valid header
            // Safety: MinimalHeader is POD so read_unaligned is safe
            let minimal_header = unsafe {
                ptr::read_unaligned::<MinimalHeader>(data.as_ptr().cast::<MinimalHeader>())
            };

            let len_to_read = minimal_header.hdr_len as usize;

            // prevent invalid input from causing UB
            if data.len() < len_to_read {
                return Err(BtfError::InvalidHeader);
            }

            // forwards compatibility: if newer headers are bigger
            // than the pre-generated btf_ext_header we should only
            // read up to btf_ext_header
            let len_to_read = len_to_read.min(size_of::<btf_ext_header>());

            // now create our full-fledge header; but start with it
            // zeroed out so unavailable fields stay as zero on older
            // BTF.ext sections
            let mut header = mem::MaybeUninit::<btf_ext_header>::zeroed();
            // Safety: we have checked that len_to_read is less than
            // size_of::<btf_ext_header> and less than
            // data.len(). Additionally, we know that the header has
            // been initialized so it's safe to call for assume_init.
            unsafe {
                ptr::copy(data.as_ptr(), header.as_mut_ptr().cast::<u8>(), len_to_read);
                header.assume_init()
            }
        };

        let btf_ext_header {
            magic: _,
            version: _,
            flags: _,
            hdr_len,
            func_info_off,
            func_info_len,
            line_info_off,
            line_info_len,
            core_relo_off,
            core_relo_len,
        } = header;

        let hdr_len = hdr_len as usize;
        let rec_size = |offset: u32, len: u32, minimum| {
            let offset = offset as usize;
            let len = len as usize;

            let section_len = data.len();
            let offset = hdr_len.checked_add(offset).ok_or(BtfError::InvalidInfo {
                offset: hdr_len,
                len: offset,
                section_len,
            })?;
            let invalid = || BtfError::InvalidInfo {
                offset,
                len,
                section_len,
            };
            let end = offset.checked_add(len).ok_or_else(invalid)?;
            let data = data.get(offset..end).ok_or_else(invalid)?;
            Ok(if len == 0 {
                0
            } else {
                let (data, _remainder) = data.split_first_chunk().ok_or_else(invalid)?;
                let rec_size = endianness.read_u32(*data) as usize;
                if rec_size < minimum {
                    return Err(invalid());
                }
                rec_size
            })
        };

        let mut ext = Self {
            header,
            relocations: Vec::new(),
            func_info: FuncInfo::new(),
            line_info: LineInfo::new(),
            func_info_rec_size: rec_size(func_info_off, func_info_len, size_of::<bpf_func_info>())?,
            line_info_rec_size: rec_size(line_info_off, line_info_len, size_of::<bpf_line_info>())?,
            core_relo_rec_size: rec_size(core_relo_off, core_relo_len, size_of::<bpf_core_relo>())?,
            data: data.to_vec(),
            _endianness: endianness,
        };

        let func_info_rec_size = ext.func_info_rec_size;
        ext.func_info.data.extend(
            SecInfoIter::new(ext.func_info_data(), ext.func_info_rec_size, endianness)
                .map(move |sec| {
                    let SecInfo {
                        name_offset,
                        num_info,
                        data,
                    } = sec?;
                    let name = btf.string_at(name_offset)?;
                    let name = name.into_owned();
                    let info = FuncSecInfo::parse(
                        name_offset,
                        num_info,
                        func_info_rec_size,
                        data,
                        endianness,
                    );
                    Ok((name, info))
                })
                .collect::<Result<HashMap<_, _>, _>>()?,
        );

        let line_info_rec_size = ext.line_info_rec_size;
        ext.line_info.data.extend(
            SecInfoIter::new(ext.line_info_data(), ext.line_info_rec_size, endianness)
                .map(move |sec| {
                    let SecInfo {
                        name_offset,
                        num_info,
                        data,
                    } = sec?;
                    let name = btf.string_at(name_offset)?;
                    let name = name.into_owned();
                    let info = LineSecInfo::parse(
                        name_offset,
                        num_info,
                        line_info_rec_size,
                        data,
                        endianness,
                    );
                    Ok((name, info))
                })
                .collect::<Result<HashMap<_, _>, _>>()?,
        );

        let rec_size = ext.core_relo_rec_size;
        ext.relocations.extend(
            SecInfoIter::new(ext.core_relo_data(), ext.core_relo_rec_size, endianness)
                .map(move |sec| {
                    let SecInfo {
                        name_offset,
                        num_info: _,
                        data,
                    } = sec?;
                    let relos = data
                        .chunks(rec_size)
                        .enumerate()
                        .map(|(n, rec)| unsafe { Relocation::parse(rec, n) })
                        .collect::<Result<Vec<_>, _>>()?;
                    Ok((name_offset, relos))
                })
                .collect::<Result<Vec<_>, _>>()?,
        );

        Ok(ext)
    }

    fn info_data(&self, offset: u32, len: u32) -> &[u8] {
        // The subsection bounds were validated by `parse` in usize arithmetic.
        let offset = self.header.hdr_len as usize + offset as usize;
        let data = &self.data[offset..offset + len as usize];
        if len > 0 {
            // skip `rec_size`
            &data[4..]
        } else {
            data
        }
    }

    fn core_relo_data(&self) -> &[u8] {
        self.info_data(self.header.core_relo_off, self.header.core_relo_len)
    }

    fn func_info_data(&self) -> &[u8] {
        self.info_data(self.header.func_info_off, self.header.func_info_len)
    }

    fn line_info_data(&self) -> &[u8] {
        self.info_data(self.header.line_info_off, self.header.line_info_len)
    }

    pub(crate) const fn relocations(&self) -> &[(u32, Vec<Relocation>)] {
        self.relocations.as_slice()
    }

    pub(crate) const fn func_info_rec_size(&self) -> usize {
        self.func_info_rec_size
    }

    pub(crate) const fn line_info_rec_size(&self) -> usize {
        self.line_info_rec_size
    }
}

pub(crate) struct SecInfoIter<'a> {
    data: &'a [u8],
    rec_size: usize,
    endianness: Endianness,
}

impl<'a> SecInfoIter<'a> {
    const fn new(data: &'a [u8], rec_size: usize, endianness: Endianness) -> Self {
        Self {
            data,
            rec_size,
            endianness,
        }
    }
}

impl<'a> Iterator for SecInfoIter<'a> {
    type Item = Result<SecInfo<'a>, BtfError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Self {
            data,
            rec_size,
            endianness,
        } = self;

        // Taking the remainder makes an error terminal, like exhaustion.
        let remainder = mem::take(data);
        if remainder.is_empty() {
            return None;
        }

        Some((|| {
            let section_len = remainder.len();
            let invalid_header = || BtfError::InvalidInfo {
                offset: 0,
                len: 8,
                section_len,
            };
            let (name_offset, remainder) =
                remainder.split_first_chunk().ok_or_else(invalid_header)?;
            let name_offset = endianness.read_u32(*name_offset);
            let (num_info, remainder) = remainder.split_first_chunk().ok_or_else(invalid_header)?;
            let num_info = endianness.read_u32(*num_info);
            let count = usize::try_from(num_info).expect("u32 fits in usize");
            let invalid = || BtfError::InvalidInfo {
                offset: 8,
                len: rec_size.saturating_mul(count),
                section_len,
            };
            if num_info == 0 || *rec_size == 0 {
                return Err(invalid());
            }
            let len = rec_size.checked_mul(count).ok_or_else(invalid)?;
            let (section_data, remainder) = remainder.split_at_checked(len).ok_or_else(invalid)?;
            *data = remainder;

            Ok(SecInfo {
                name_offset,
                num_info,
                data: section_data,
            })
        })())
    }
}

/// [`BtfTypes`] allows for access and manipulation of a
/// collection of [`BtfType`] objects.
#[derive(Debug, Clone)]
pub(crate) struct BtfTypes {
    pub(crate) types: Vec<BtfType>,
}

impl Default for BtfTypes {
    fn default() -> Self {
        Self {
            types: vec![BtfType::Unknown],
        }
    }
}

impl BtfTypes {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut buf = vec![];
        for t in self.types.iter().skip(1) {
            let b = t.to_bytes();
            buf.extend(b)
        }
        buf
    }

    pub(crate) const fn len(&self) -> usize {
        self.types.len()
    }

    pub(crate) fn push(&mut self, value: BtfType) {
        self.types.push(value)
    }

    pub(crate) fn type_by_id(&self, type_id: u32) -> Result<&BtfType, BtfError> {
        self.types
            .get(type_id as usize)
            .ok_or(BtfError::UnknownBtfType { type_id })
    }

    pub(crate) fn resolve_type(&self, root_type_id: u32) -> Result<u32, BtfError> {
        let mut type_id = root_type_id;
        for () in core::iter::repeat_n((), MAX_RESOLVE_DEPTH) {
            let ty = self.type_by_id(type_id)?;

            match ty {
                BtfType::Volatile(ty) => {
                    type_id = ty.btf_type;
                }
                BtfType::Const(ty) => {
                    type_id = ty.btf_type;
                }
                BtfType::Restrict(ty) => {
                    type_id = ty.btf_type;
                }
                BtfType::Typedef(ty) => {
                    type_id = ty.btf_type;
                }
                BtfType::TypeTag(ty) => {
                    type_id = ty.btf_type;
                }
                _ => return Ok(type_id),
            }
        }

        Err(BtfError::MaximumTypeDepthReached {
            type_id: root_type_id,
        })
    }
}

#[derive(Debug)]
pub(crate) struct SecInfo<'a> {
    name_offset: u32,
    num_info: u32,
    data: &'a [u8],
}
