//! Extern type resolution and relocation.
use crate::{
    Object,
    btf::{Btf, BtfError, BtfKind, BtfType},
    util::{HashMap, HashSet},
};

impl Object {
    /// Returns true if this object contains typed kernel symbols.
    pub fn has_typed_ksyms(&self) -> bool {
        self.btf
            .as_ref()
            .is_some_and(|btf| btf.externs.has_typed_ksyms())
    }

    /// Resolves extern kernel symbols through kernel `BTF` and `kallsyms`.
    pub fn resolve_externs(&mut self, kernel_btf: Option<&Btf>) -> Result<(), KsymsError> {
        if self.btf.is_none() {
            return Ok(());
        }

        if let Some(kernel_btf) = kernel_btf {
            self.resolve_typed_externs(kernel_btf)?;
        } else if self.has_strong_typed_ksyms() {
            return Err(KsymsError::TypedKsymRequiresKernelBtf);
        }

        self.resolve_typeless_externs()?;

        Ok(())
    }

    /// Returns whether the object contains strong typed ksyms that require kernel `BTF`.
    pub fn has_strong_typed_ksyms(&self) -> bool {
        self.btf
            .as_ref()
            .is_some_and(|btf| btf.externs.has_strong_typed_ksyms())
    }

    /// Resolves typed externs through kernel `BTF`.
    pub(crate) fn resolve_typed_externs(&mut self, kernel_btf: &Btf) -> Result<(), KsymsError> {
        let mut resolutions = Vec::new();
        {
            let obj_btf = self
                .btf
                .as_ref()
                .expect("resolve_typed_externs called without local BTF");

            for (name, extern_desc) in obj_btf
                .externs
                .iter()
                .filter(|(_, extern_desc)| extern_desc.type_id.is_some())
            {
                let btf_type = obj_btf.type_by_id(extern_desc.btf_id)?;
                let kernel_btf_id = match btf_type {
                    BtfType::Func(_) => {
                        self.resolve_extern_function(name, extern_desc, kernel_btf)?
                    }
                    BtfType::Var(_) => {
                        self.resolve_extern_variable(name, extern_desc, kernel_btf)?
                    }
                    _ => {
                        return Err(KsymsError::InvalidExternType { name: name.clone() });
                    }
                };

                if let Some(btf_id) = kernel_btf_id {
                    resolutions.push((name.clone(), btf_id));
                }
            }
        }

        let obj_mut = self
            .btf
            .as_mut()
            .expect("resolve_typed_externs called without local BTF");

        for (name, kernel_btf_id) in resolutions {
            if let Some(ext) = obj_mut.externs.get_mut(&name) {
                ext.kernel_btf_id = Some(kernel_btf_id);
                ext.is_resolved = true;
            }
        }

        Ok(())
    }

    /// Resolves typeless extern vars found in `.ksyms` section through `kallsyms`.
    pub(crate) fn resolve_typeless_externs(&mut self) -> Result<(), KsymsError> {
        let unresolved: Vec<String> = self.unresolved_typeless_ksym_vars();

        if !unresolved.is_empty() {
            let file = std::fs::File::open("/proc/kallsyms")?;
            let reader = std::io::BufReader::new(file);
            self.resolve_kallsyms_from_reader(reader, &unresolved)?;
        }

        // Set unresolved weak ksyms to address 0 so they appear as null pointers.
        if let Some(obj_btf) = self.btf.as_mut() {
            for ext in obj_btf.externs.externs.values_mut() {
                if ext.extern_type == ExternType::Ksym && !ext.is_resolved && ext.is_weak {
                    ext.ksym_addr = Some(0);
                }
            }
        }

        Ok(())
    }

    /// Resolves typeless ksym addresses by matching symbol names against parsed kallsyms lines.
    fn resolve_kallsyms_from_reader<R, S>(
        &mut self,
        reader: R,
        unresolved: &[S],
    ) -> Result<(), KsymsError>
    where
        R: std::io::BufRead,
        S: AsRef<str>,
    {
        let obj_btf = self
            .btf
            .as_mut()
            .expect("resolve_kallsyms_from_reader called without local BTF");

        let unresolved: HashSet<_> = unresolved.iter().map(AsRef::as_ref).collect();

        for line in reader.lines() {
            let line = line?;
            let mut parts = line.split_whitespace();
            let (Some(addr_str), Some(_sym_type), Some(sym_name)) =
                (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };

            if !unresolved.contains(sym_name) {
                continue;
            }

            let addr = u64::from_str_radix(addr_str, 16).map_err(|_err| {
                KsymsError::KallsymsParseError(format!("invalid address: {addr_str}"))
            })?;
            if addr == 0 {
                continue;
            }

            if let Some(ext) = obj_btf.externs.get_mut(sym_name) {
                if ext.is_resolved {
                    if let Some(existing_addr) = ext.ksym_addr
                        && existing_addr != addr
                    {
                        return Err(KsymsError::AmbiguousResolution {
                            name: sym_name.to_string(),
                            first_addr: existing_addr,
                            second_addr: addr,
                        });
                    }
                    continue;
                }

                ext.ksym_addr = Some(addr);
                ext.is_resolved = true;
            }
        }

        // Reject unresolved strong typeless ksyms after the kallsyms pass.
        // Typed ksyms fail earlier during BTF resolution.
        for (name, ext) in obj_btf.externs.iter() {
            if ext.extern_type == ExternType::Ksym && !ext.is_resolved && !ext.is_weak {
                return Err(KsymsError::VariableNotFound { name: name.clone() });
            }
        }

        Ok(())
    }

    /// Returns unresolved typeless ksym variables from [`ExternCollection`].
    fn unresolved_typeless_ksym_vars(&self) -> Vec<String> {
        let Some(obj_btf) = self.btf.as_ref() else {
            return Vec::new();
        };

        obj_btf
            .externs
            .externs
            .iter()
            .filter(|(_, ext)| {
                ext.extern_type == ExternType::Ksym && !ext.is_resolved && ext.type_id.is_none()
            })
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Resolves a single extern function. Returns BTF ID if found, otherwise
    /// returns `None`.
    fn resolve_extern_function(
        &self,
        name: &str,
        extern_desc: &ExternDesc,
        kernel_btf: &Btf,
    ) -> Result<Option<u32>, KsymsError> {
        let lookup_name = extern_desc.essential_name.as_deref().unwrap_or(name);
        let Ok(kernel_func_id) = kernel_btf.id_by_type_name_kind(lookup_name, BtfKind::Func) else {
            if extern_desc.is_weak {
                return Ok(None);
            }

            return Err(KsymsError::FunctionNotFound {
                name: lookup_name.to_string(),
            });
        };

        let kernel_func_type = kernel_btf.type_by_id(kernel_func_id)?;
        let kernel_proto_id = match kernel_func_type {
            BtfType::Func(func) => func.btf_type,
            _ => {
                return Err(KsymsError::BtfError(BtfError::UnexpectedBtfType {
                    type_id: kernel_func_id,
                }));
            }
        };

        let local_proto_id = extern_desc.type_id.expect("typed extern must have type_id");

        let obj_btf = self
            .btf
            .as_ref()
            .expect("resolve_extern_function called without local BTF");
        let compatible =
            crate::btf::types_are_compatible(obj_btf, local_proto_id, kernel_btf, kernel_proto_id)?;

        if !compatible {
            if extern_desc.is_weak {
                return Ok(None);
            }
            return Err(KsymsError::IncompatibleFunctionSignature {
                name: lookup_name.to_string(),
            });
        }

        Ok(Some(kernel_func_id))
    }

    /// Resolves a single extern variable. Returns BTF ID if found, otherwise
    /// returns `None`.
    fn resolve_extern_variable(
        &self,
        name: &str,
        extern_desc: &ExternDesc,
        kernel_btf: &Btf,
    ) -> Result<Option<u32>, KsymsError> {
        let Ok(kernel_var_id) = kernel_btf.id_by_type_name_kind(name, BtfKind::Var) else {
            if extern_desc.is_weak {
                return Ok(None);
            }
            return Err(KsymsError::VariableNotFound {
                name: name.to_string(),
            });
        };

        let kernel_var_type = kernel_btf.type_by_id(kernel_var_id)?;
        let kernel_type_id = match kernel_var_type {
            BtfType::Var(var) => var.btf_type,
            _ => {
                return Err(KsymsError::BtfError(BtfError::UnexpectedBtfType {
                    type_id: kernel_var_id,
                }));
            }
        };

        let local_type_id = extern_desc.type_id.expect("typed extern must have type_id");

        let obj_btf = self
            .btf
            .as_ref()
            .expect("resolve_extern_variable called without local BTF");
        let compatible =
            crate::btf::types_are_compatible(obj_btf, local_type_id, kernel_btf, kernel_type_id)?;

        if !compatible {
            if extern_desc.is_weak {
                return Ok(None);
            }
            return Err(KsymsError::IncompatibleVariableType {
                name: name.to_string(),
            });
        }

        Ok(Some(kernel_var_id))
    }
}

/// Errors that can occur during ksyms operations.
#[derive(Debug, thiserror::Error)]
pub enum KsymsError {
    /// A typed ksym was encountered but kernel BTF is unavailable.
    #[error("typed ksyms require kernel BTF for resolution")]
    TypedKsymRequiresKernelBtf,

    /// A non-weak extern variable was not found in kernel BTF or kallsyms.
    #[error("kernel variable '{name}' not found")]
    VariableNotFound {
        /// The name of the variable that was not found.
        name: String,
    },

    /// The extern function's signature is incompatible with the kernel function.
    #[error("kernel function '{name}' has incompatible signature")]
    IncompatibleFunctionSignature {
        /// The name of the function with incompatible signature.
        name: String,
    },

    /// The extern variable's type is incompatible with the kernel variable.
    #[error("kernel variable '{name}' has incompatible type")]
    IncompatibleVariableType {
        /// The name of the variable with incompatible type.
        name: String,
    },

    /// The extern symbol has an invalid BTF type (neither `Func` nor `Var`).
    #[error("extern '{name}' has invalid BTF type (neither Func nor Var)")]
    InvalidExternType {
        /// The name of the extern with invalid type.
        name: String,
    },

    /// An error occurred while working with BTF data.
    #[error("BTF error: {0}")]
    BtfError(#[from] BtfError),

    /// Resolved extern's kallsyms address does not match against the loaded kallsyms.
    #[error("extern (ksym) '{name}': resolution is ambiguous: {first_addr:#x} or {second_addr:#x}")]
    AmbiguousResolution {
        /// The name of the symbol with ambiguous resolution.
        name: String,
        /// The first address found.
        first_addr: u64,
        /// The second (conflicting) address found.
        second_addr: u64,
    },

    /// Could not access kallsyms entries.
    #[error("failed to access /proc/kallsyms: {0}")]
    KallsymsAccessError(#[from] std::io::Error),

    /// Failed to parse kallsyms data.
    #[error("failed to parse kallsyms: {0}")]
    KallsymsParseError(String),

    /// A non-weak typed extern function was not found in kernel BTF.
    #[error("kernel function '{name}' not found in kernel BTF")]
    FunctionNotFound {
        /// The function name.
        name: String,
    },
}

/// Type of extern symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExternType {
    /// Kernel symbol - variable or function (`.ksyms` section).
    Ksym,
}

/// Descriptor for an extern symbol.
#[derive(Debug, Clone)]
pub(crate) struct ExternDesc {
    /// Symbol name.
    pub(crate) name: String,

    /// Type of extern.
    pub(crate) extern_type: ExternType,

    /// BTF type ID in local (program) BTF.
    pub(crate) btf_id: u32,

    /// Whether this is a weak symbol.
    pub(crate) is_weak: bool,

    /// Whether extern has been resolved.
    pub(crate) is_resolved: bool,

    /// For ksym: kernel BTF ID (after resolution).
    pub(crate) kernel_btf_id: Option<u32>,

    /// For ksym variables: resolved kernel address.
    pub(crate) ksym_addr: Option<u64>,

    /// For ksym: resolved type ID (after skipping modifiers/typedefs).
    pub(crate) type_id: Option<u32>,

    /// For names with flavors: stripped essential name.
    pub(crate) essential_name: Option<String>,
}

impl ExternDesc {
    pub(crate) fn new(name: String, extern_type: ExternType, btf_id: u32, is_weak: bool) -> Self {
        // Extract essential name by stripping the BPF CO-RE flavor suffix.
        // Given `some_struct_name___with_flavor`, the triple-underscore and
        // everything after it is ignored during relocation matching.
        let essential_name = name.split_once("___").map(|(name, _)| name.to_string());

        Self {
            name,
            extern_type,
            btf_id,
            is_weak,
            is_resolved: false,
            kernel_btf_id: None,
            ksym_addr: None,
            type_id: None,
            essential_name,
        }
    }
}

/// Collection of extern symbols.
#[derive(Debug, Default, Clone)]
pub(crate) struct ExternCollection {
    /// Map of extern descriptors by name.
    pub(crate) externs: HashMap<String, ExternDesc>,

    /// BTF ID of the placeholder var used for `.ksyms` function entries (if created).
    pub(crate) ksym_func_placeholder_id: Option<u32>,

    /// Index ID of `.ksyms` datasec entry in BTF types.
    pub(crate) datasec_id: Option<u32>,

    /// Whether the collection contains any typed ksyms.
    has_typed_ksyms: bool,

    /// Whether the collection contains any strong typed ksyms.
    has_strong_typed_ksyms: bool,
}

impl ExternCollection {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn insert(&mut self, name: String, desc: ExternDesc) {
        if desc.extern_type == ExternType::Ksym && desc.type_id.is_some() {
            self.has_typed_ksyms = true;
            if !desc.is_weak {
                self.has_strong_typed_ksyms = true;
            }
        }
        self.externs.insert(name, desc);
    }

    pub(crate) const fn has_typed_ksyms(&self) -> bool {
        self.has_typed_ksyms
    }

    pub(crate) const fn has_strong_typed_ksyms(&self) -> bool {
        self.has_strong_typed_ksyms
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut ExternDesc> {
        self.externs.get_mut(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &ExternDesc)> {
        self.externs.iter()
    }

    pub(crate) const fn set_ksym_func_placeholder_id(&mut self, id: u32) {
        self.ksym_func_placeholder_id = Some(id);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.externs.is_empty()
    }
}
