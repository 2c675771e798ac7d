//! The pause image: the one process that holds a pod's namespaces. It comes with the product, as machine code made
//! here.
//!
//! The program blocks SIGTERM, SIGINT and SIGCHLD, then waits for one of them for ever: SIGCHLD reaps children that
//! were left to it (it is process 1 where containers share processes), the others end it. As process 1 it would not get
//! signals with default action; blocked ones it does get. No compiler and no library is needed at run time.

use bollard::Docker;
use bollard::query_parameters::CreateImageOptions;
use bytes::Bytes;
use futures_util::StreamExt;

use super::error::{Context as _, DockerError, code, words};
use super::tar::archive;

/// The pause image's usual name.
pub const PAUSE_IMAGE: &str = "orrery/pause:1";

/// Where the program is in the image.
pub(super) const PROGRAM: &str = "/pause";

/// The signals waited for: SIGINT (2), SIGTERM (15), SIGCHLD (17), as the kernel's bit set.
pub(super) const SIGNALS: u64 = 1 << 1 | 1 << 14 | 1 << 16;
/// The processors in ELF's numbers.
pub(super) const X86_64: u16 = 62;
const AARCH64: u16 = 183;
/// Where the program is loaded.
const ADDRESS: u64 = 0x40_0000;
/// The ELF header and one program header.
const HEADERS: u64 = 64 + 56;

/// Makes the pause image when it is absent.
pub(super) async fn ensure(docker: &Docker, reference: &str) -> Result<(), DockerError> {
    match docker.inspect_image(reference).await {
        Ok(_) => return Ok(()),
        Err(error) if code(&error) == Some(404) => {}
        Err(error) => return Err(error).context("cannot look for the pause image"),
    }
    let program = program(std::env::consts::ARCH)
        .ok_or_else(|| DockerError::Options(format!("no pause image for {}", std::env::consts::ARCH)))?;
    import(
        docker,
        reference,
        archive(&[(PROGRAM.trim_start_matches('/'), &program, 0o755)]),
        Vec::new(),
    )
    .await
}

/// Makes the image `reference` of a root file system in a tar archive, with `changes` in a Dockerfile's words.
pub(super) async fn import(
    docker: &Docker,
    reference: &str,
    archive: Vec<u8>,
    changes: Vec<String>,
) -> Result<(), DockerError> {
    let (repository, tag) = repository_and_tag(reference);
    let options = CreateImageOptions {
        from_src: Some("-".to_owned()),
        repo: Some(repository.to_owned()),
        tag: Some(tag.to_owned()),
        changes,
        ..CreateImageOptions::default()
    };
    let body = bollard::body_full(Bytes::from(archive));
    let mut progress = std::pin::pin!(docker.create_image(Some(options), Some(body), None));
    while let Some(step) = progress.next().await {
        step.map_err(|error| DockerError::Docker {
            doing: format!("cannot make the image {reference}"),
            why: words(&error),
        })?;
    }
    Ok(())
}

/// The parts of an image's name; what stands before the last slash may be a host with a port.
fn repository_and_tag(reference: &str) -> (&str, &str) {
    let name = reference.rfind('/').map_or(0, |slash| slash + 1);
    match reference[name..].rfind(':') {
        Some(colon) => (&reference[..name + colon], &reference[name + colon + 1..]),
        None => (reference, "latest"),
    }
}

/// The program for a processor (in Rust's words), as a static ELF executable; none for a processor unknown here.
pub(super) fn program(processor: &str) -> Option<Vec<u8>> {
    let (machine, mut code) = match processor {
        "x86_64" => (X86_64, x86_64()),
        "aarch64" => (AARCH64, aarch64()),
        _ => return None,
    };
    code.extend_from_slice(&SIGNALS.to_le_bytes());
    Some(executable(machine, &code))
}

/// A static executable of position-independent code for the ELF machine `machine`.
pub(super) fn executable(machine: u16, code: &[u8]) -> Vec<u8> {
    let size = HEADERS + code.len() as u64;
    let mut elf = Vec::with_capacity(size as usize);
    // ELF header: 64 bits, little-endian, version 1, executable.
    elf.extend_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    elf.extend_from_slice(&2u16.to_le_bytes());
    elf.extend_from_slice(&machine.to_le_bytes());
    elf.extend_from_slice(&1u32.to_le_bytes());
    elf.extend_from_slice(&(ADDRESS + HEADERS).to_le_bytes()); // entry
    elf.extend_from_slice(&64u64.to_le_bytes()); // program headers
    elf.extend_from_slice(&0u64.to_le_bytes()); // no section headers
    elf.extend_from_slice(&0u32.to_le_bytes()); // flags
    for half in [64u16, 56, 1, 64, 0, 0] {
        elf.extend_from_slice(&half.to_le_bytes()); // sizes and counts of headers
    }
    // One segment: all of the file, readable and executable.
    elf.extend_from_slice(&1u32.to_le_bytes());
    elf.extend_from_slice(&5u32.to_le_bytes());
    for long in [0, ADDRESS, ADDRESS, size, size, 0x1000] {
        elf.extend_from_slice(&long.to_le_bytes());
    }
    elf.extend_from_slice(code);
    elf
}

/// Machine code with jumps to places that are known later.
#[derive(Default)]
struct X86 {
    code: Vec<u8>,
}

impl X86 {
    fn put(&mut self, bytes: &[u8]) -> &mut Self {
        self.code.extend_from_slice(bytes);
        self
    }

    /// A short jump back to `target`.
    fn jump_back(&mut self, opcode: u8, target: usize) {
        let next = self.code.len() + 2;
        // The whole program is shorter than 128 bytes.
        self.put(&[opcode, (target.wrapping_sub(next)) as u8]);
    }

    /// Writes at `at` (four bytes) the distance from there to `target`.
    fn point(&mut self, at: usize, target: usize) {
        let distance = (target - (at + 4)) as u32;
        self.code[at..at + 4].copy_from_slice(&distance.to_le_bytes());
    }
}

pub(super) fn x86_64() -> Vec<u8> {
    let mut asm = X86::default();
    // rt_sigprocmask(SIG_BLOCK, &signals, NULL, 8)
    asm.put(&[0x31, 0xff]); // xor edi, edi
    asm.put(&[0x48, 0x8d, 0x35]); // lea rsi, [rip + signals]
    let first = asm.code.len();
    asm.put(&[0; 4]);
    asm.put(&[0x31, 0xd2]); // xor edx, edx
    asm.put(&[0x41, 0xba, 8, 0, 0, 0]); // mov r10d, 8
    asm.put(&[0xb8, 14, 0, 0, 0, 0x0f, 0x05]); // mov eax, 14; syscall
    // wait: rt_sigtimedwait(&signals, NULL, NULL, 8)
    let wait = asm.code.len();
    asm.put(&[0x48, 0x8d, 0x3d]); // lea rdi, [rip + signals]
    let second = asm.code.len();
    asm.put(&[0; 4]);
    asm.put(&[0x31, 0xf6, 0x31, 0xd2]); // xor esi, esi; xor edx, edx
    asm.put(&[0x41, 0xba, 8, 0, 0, 0]); // mov r10d, 8
    asm.put(&[0xb8, 128, 0, 0, 0, 0x0f, 0x05]); // mov eax, 128; syscall
    asm.put(&[0x85, 0xc0]); // test eax, eax
    asm.jump_back(0x78, wait); // js wait
    asm.put(&[0x83, 0xf8, 17]); // cmp eax, SIGCHLD
    asm.put(&[0x75, 0]); // jne exit
    let to_exit = asm.code.len();
    // reap: wait4(-1, NULL, WNOHANG, NULL)
    let reap = asm.code.len();
    asm.put(&[0x83, 0xcf, 0xff]); // or edi, -1
    asm.put(&[0x31, 0xf6]); // xor esi, esi
    asm.put(&[0xba, 1, 0, 0, 0]); // mov edx, WNOHANG
    asm.put(&[0x45, 0x31, 0xd2]); // xor r10d, r10d
    asm.put(&[0xb8, 61, 0, 0, 0, 0x0f, 0x05]); // mov eax, 61; syscall
    asm.put(&[0x85, 0xc0]); // test eax, eax
    asm.jump_back(0x7f, reap); // jg reap
    asm.jump_back(0xeb, wait); // jmp wait
    // exit: exit_group(0)
    let exit = asm.code.len();
    asm.code[to_exit - 1] = (exit - to_exit) as u8;
    asm.put(&[0x31, 0xff]); // xor edi, edi
    asm.put(&[0xb8, 231, 0, 0, 0, 0x0f, 0x05]); // mov eax, 231; syscall
    let signals = asm.code.len();
    asm.point(first, signals);
    asm.point(second, signals);
    asm.code
}

fn aarch64() -> Vec<u8> {
    let movz = |register: u32, value: u32| 0xd280_0000 | value << 5 | register;
    let adr = |register: u32, from: usize, to: usize| {
        let distance = ((to - from) * 4) as u32;
        0x1000_0000 | (distance & 3) << 29 | (distance >> 2) << 5 | register
    };
    let branch_if = |condition: u32, from: usize, to: usize| {
        let distance = (to as i32 - from as i32) as u32 & 0x7_ffff;
        0x5400_0000 | distance << 5 | condition
    };
    let branch = |from: usize, to: usize| 0x1400_0000 | ((to as i32 - from as i32) as u32 & 0x3ff_ffff);
    let compare = |value: u32| 0x7100_001f | value << 10; // cmp w0, #value
    const CALL: u32 = 0xd400_0001; // svc #0
    let (not_equal, less, greater) = (1, 11, 12);
    // The places of labels, counted in instructions.
    let (wait, reap, exit, signals) = (6, 16, 25, 28);
    let code = [
        // rt_sigprocmask(SIG_BLOCK, &signals, NULL, 8)
        movz(0, 0),
        adr(1, 1, signals),
        movz(2, 0),
        movz(3, 8),
        movz(8, 135),
        CALL,
        // wait: rt_sigtimedwait(&signals, NULL, NULL, 8)
        adr(0, 6, signals),
        movz(1, 0),
        movz(2, 0),
        movz(3, 8),
        movz(8, 137),
        CALL,
        compare(0),
        branch_if(less, 13, wait),
        compare(17),
        branch_if(not_equal, 15, exit),
        // reap: wait4(-1, NULL, WNOHANG, NULL)
        0x9280_0000, // mov x0, #-1
        movz(1, 0),
        movz(2, 1),
        movz(3, 0),
        movz(8, 260),
        CALL,
        compare(0),
        branch_if(greater, 23, reap),
        branch(24, wait),
        // exit: exit_group(0)
        movz(0, 0),
        movz(8, 94),
        CALL,
    ];
    code.iter().flat_map(|word: &u32| word.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_an_executable_for_its_processor() {
        for (processor, machine) in [("x86_64", 62), ("aarch64", 183)] {
            let elf = program(processor).expect("a known processor");
            assert_eq!(&elf[..4], b"\x7fELF");
            assert_eq!(u16::from_le_bytes([elf[18], elf[19]]), machine);
            assert_eq!(&elf[elf.len() - 8..], &SIGNALS.to_le_bytes());
            assert!(elf.len() < 512, "{} bytes", elf.len());
        }
        assert_eq!(program("vax"), None);
    }

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(repository_and_tag("web:1"), ("web", "1"));
        assert_eq!(repository_and_tag("web"), ("web", "latest"));
        assert_eq!(repository_and_tag("host:5000/a/web"), ("host:5000/a/web", "latest"));
        assert_eq!(repository_and_tag("host:5000/web:2"), ("host:5000/web", "2"));
    }
}
