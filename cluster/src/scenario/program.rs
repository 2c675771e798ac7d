//! This program with all that it needs to run, as files of an image.

use std::collections::BTreeSet;
use std::io;

/// Where the program is in the image, and the folder of its libraries.
const PROGRAM: &str = "orrery";
const LIBRARIES: &str = "lib";

/// A program as files of an image.
pub struct Program {
    /// Paths and contents.
    pub files: Vec<(String, Vec<u8>)>,
    /// How it is started.
    pub entrypoint: Vec<String>,
}

/// This program, with the libraries that this process has loaded.
pub fn own() -> io::Result<Program> {
    let own = std::env::current_exe()?;
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let mut files = vec![(PROGRAM.to_owned(), std::fs::read(own)?)];
    let libraries = libraries(&maps);
    for path in &libraries {
        files.push((format!("{LIBRARIES}/{}", file_name(path)), std::fs::read(path)?));
    }
    let loader = libraries
        .iter()
        .map(|path| file_name(path))
        .find(|name| is_loader(name));
    let program = format!("/{PROGRAM}");
    let entrypoint = match loader {
        // Named, so that it does not matter where this system has its libraries.
        Some(loader) => vec![
            format!("/{LIBRARIES}/{loader}"),
            "--library-path".to_owned(),
            format!("/{LIBRARIES}"),
            program,
        ],
        None => vec![program],
    };
    Ok(Program { files, entrypoint })
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn is_loader(name: &str) -> bool {
    name.starts_with("ld-") || name.starts_with("ld.so")
}

/// The shared libraries in a process' map of its memory (proc(5)), the loader among them.
fn libraries(maps: &str) -> BTreeSet<String> {
    let paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    let is_library = |path: &&str| path.starts_with('/') && file_name(path).contains(".so");
    paths.filter(is_library).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_of_a_process_are_in_the_map_of_its_memory() {
        let maps = "\
55e0-55e1 r--p 00000000 08:01 12 /usr/bin/orrery
7f00-7f01 r-xp 00000000 08:01 13 /usr/lib/x86_64-linux-gnu/libc.so.6
7f01-7f02 r--p 00000000 08:01 13 /usr/lib/x86_64-linux-gnu/libc.so.6
7f02-7f03 r-xp 00000000 08:01 14 /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
7ffc-7ffd rw-p 00000000 00:00 0 [stack]
7ffd-7ffe rw-p 00000000 00:00 0
";
        let found = libraries(maps);
        assert_eq!(found.len(), 2);
        assert!(found.iter().any(|path| is_loader(file_name(path))));
    }

    #[test]
    fn this_program_is_found_with_its_loader_if_it_has_one() {
        let program = own().expect("readable");
        assert_eq!(program.files[0].0, PROGRAM);
        assert_eq!(program.entrypoint.last().map(String::as_str), Some("/orrery"));
        assert_eq!(program.entrypoint.len() > 1, program.files.len() > 1);
    }
}
