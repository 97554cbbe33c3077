//! What the machine code of a function shows.

use std::ops::ControlFlow;

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use object::elf::R_X86_64_RELATIVE;

use super::elf::{Elf, LE, Relocation, Span};
use super::names::Found;

/// Functions that matter are at most some 10 KiB long.
const MAX_FUNCTION: u64 = 256 * 1024;
/// Each would be a probe.
const MAX_RETURNS: usize = 128;
/// What a function may jump to before it is no mere detour.
const MAX_TARGETS: usize = 64;

/// Offsets in the file of all return instructions of the code between two addresses; nothing if that is no code that
/// can be read whole, or never returns.
pub(super) fn returns(elf: &Elf<'_>, from: u64, to: u64) -> Option<Vec<u64>> {
    let offset = elf.code_offset(from)?;
    let mut returns = Vec::new();
    decode(elf, from, to.checked_sub(from)?, |instruction| {
        if instruction.mnemonic() == Mnemonic::Ret {
            returns.push(offset + (instruction.ip() - from));
        }
        returns.len() <= MAX_RETURNS
    })?;
    (!returns.is_empty() && returns.len() <= MAX_RETURNS).then_some(returns)
}

/// Offsets in the file of the instructions by which the code between two addresses is left: returns, and jumps to other
/// functions in their stead. `is_inside` says whether a part of a function lies at an address that is no function's
/// beginning. Nothing if it is no code that can be read whole.
pub(super) fn ends(elf: &Elf<'_>, from: u64, to: u64, is_inside: &dyn Fn(u64) -> bool) -> Option<Vec<u64>> {
    let offset = elf.code_offset(from)?;
    let mut ends = Vec::new();
    decode(elf, from, to.checked_sub(from)?, |instruction| {
        let leaves = match instruction.flow_control() {
            FlowControl::Return => true,
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
                let target = instruction.near_branch_target();
                !(from..to).contains(&target) && !is_inside(target)
            }
            // Through a place in memory: another library's function, or a method. With an index, or through a register, it
            // is rather one of the function's own cases.
            FlowControl::IndirectBranch => {
                instruction.op0_kind() == OpKind::Memory && instruction.memory_index() == Register::None
            }
            _ => false,
        };
        if leaves {
            ends.push(offset + (instruction.ip() - from));
        }
        ends.len() <= MAX_RETURNS
    })?;
    (ends.len() <= MAX_RETURNS).then_some(ends)
}

/// Where in these bytes the first return instruction stands.
pub(super) fn first_return(bytes: &[u8]) -> Option<u64> {
    let decoder = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE);
    let mut all = decoder
        .into_iter()
        .take_while(|instruction| instruction.code() != Code::INVALID);
    all.find(|instruction| instruction.flow_control() == FlowControl::Return)
        .map(|instruction| instruction.ip())
}

/// Whether a function calls or jumps to another, directly or through the dynamic linker's table.
pub(super) fn leads_to(elf: &Elf<'_>, from: &Found, to: &Found) -> bool {
    let (mut targets, mut slots) = (Vec::new(), Vec::new());
    let whole = decode(elf, from.address, from.size, |instruction| {
        if instruction.op0_kind() == OpKind::NearBranch64 {
            targets.push(instruction.near_branch_target());
        }
        slots.extend(slot(instruction));
        targets.len() + slots.len() < MAX_TARGETS
    });
    // Looked up in all relocations, so only what lies outside of the function counts.
    let inside = from.address..from.address.saturating_add(from.size);
    targets.retain(|target| !inside.contains(target));
    if whole.is_none() {
        return false;
    }
    slots.extend(targets.iter().filter_map(|&target| detour(elf, target)));
    targets.contains(&to.address) || slots_hold(elf, &slots, to)
}

/// The address that a function returns, if that is all it does.
pub(super) fn returned_address(elf: &Elf<'_>, function: &Found) -> Option<u64> {
    let (mut address, mut ends) = (None, false);
    decode(elf, function.address, function.size, |instruction| {
        match instruction.mnemonic() {
            Mnemonic::Endbr64 => true,
            Mnemonic::Lea if instruction.op0_register() == Register::RAX && instruction.is_ip_rel_memory_operand() => {
                address = Some(instruction.ip_rel_memory_address());
                true
            }
            mnemonic => {
                ends = mnemonic == Mnemonic::Ret;
                false
            }
        }
    })?;
    address.filter(|_| ends)
}

/// The addresses that the dynamic linker puts into these slots; nothing where it puts none.
pub(super) fn pointers<const N: usize>(elf: &Elf<'_>, slots: [u64; N]) -> [Option<u64>; N] {
    let mut found = [None; N];
    for table in elf.relocations() {
        let read = elf.entries::<Relocation>(table, |_, relocation| {
            let at = relocation.r_offset.get(LE);
            if let Some(place) = slots.iter().position(|&slot| slot == at)
                && relocation.r_type(LE, false) == R_X86_64_RELATIVE
            {
                found[place] = u64::try_from(relocation.r_addend.get(LE)).ok();
            }
            ControlFlow::Continue(())
        });
        if read.is_err() {
            break;
        }
    }
    found
}

/// The slot whose content an instruction calls or jumps to.
fn slot(instruction: &Instruction) -> Option<u64> {
    let goes = matches!(instruction.mnemonic(), Mnemonic::Jmp | Mnemonic::Call);
    (goes && instruction.is_ip_rel_memory_operand()).then(|| instruction.ip_rel_memory_address())
}

/// The slot through which an entry of the procedure linkage table jumps.
fn detour(elf: &Elf<'_>, address: u64) -> Option<u64> {
    const LONGEST: u64 = 16;
    let mut found = None;
    decode(elf, address, LONGEST, |instruction| {
        found = slot(instruction);
        found.is_none() && instruction.mnemonic() == Mnemonic::Endbr64
    })?;
    found
}

/// Whether the dynamic linker puts this function's address into one of these slots.
fn slots_hold(elf: &Elf<'_>, slots: &[u64], function: &Found) -> bool {
    let Some(symbol) = function.dynamic_index.filter(|_| !slots.is_empty()) else {
        return false;
    };
    let mut hold = false;
    for table in elf.relocations() {
        let read = elf.entries::<Relocation>(table, |_, relocation| {
            hold = relocation.r_sym(LE, false) == symbol && slots.contains(&relocation.r_offset.get(LE));
            if hold {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        if read.is_err() || hold {
            break;
        }
    }
    hold
}

/// Shows instructions until `visit` has enough. Nothing if the code is not in the file, too long, or no code.
fn decode(elf: &Elf<'_>, address: u64, size: u64, mut visit: impl FnMut(&Instruction) -> bool) -> Option<()> {
    if size > MAX_FUNCTION {
        return None;
    }
    let offset = elf.code_offset(address)?;
    let code = elf.some(Span { offset, size }, 0, usize::try_from(size).ok()?).ok()?;
    let mut decoder = Decoder::with_ip(64, &code, address, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        if instruction.code() == Code::INVALID {
            return None;
        }
        if !visit(&instruction) {
            break;
        }
    }
    Some(())
}
