//! Images made here, without any registry: one static program (`images/web.rs`) and a file with its version.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process::{self, Outcome};

/// The names of the images. They differ in what `/` answers: version 1 or 2.
pub const IMAGES: [&str; 2] = ["orrery-test/web:1", "orrery-test/web:2"];

const COMPILING: Duration = Duration::from_secs(180);
const IMPORTING: Duration = Duration::from_secs(60);

/// Compiles the program in `folder` and makes the images.
pub fn make(folder: &Path) -> Result<(), String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("images").join("web.rs");
    let root = folder.join("image");
    fs::create_dir_all(&root).map_err(|error| error.to_string())?;
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args([
        "--edition",
        "2024",
        "-O",
        "-C",
        "target-feature=+crt-static",
        "-C",
        "strip=symbols",
        "-o",
    ]);
    rustc.arg(root.join("web")).arg(source);
    succeed("compile the images' program", rustc, COMPILING)?;
    for image in IMAGES {
        let version = image.rsplit(':').next().unwrap_or_default();
        fs::write(root.join("version"), version).map_err(|error| error.to_string())?;
        let archive = folder.join("image.tar");
        let mut tar = Command::new("tar");
        tar.arg("-cf").arg(&archive).arg("-C").arg(&root).arg(".");
        succeed("pack an image", tar, IMPORTING)?;
        let mut import = Command::new("docker");
        import
            .args(["import", "-c", r#"CMD ["/web","serve"]"#])
            .arg(&archive)
            .arg(image);
        succeed("make an image", import, IMPORTING)?;
    }
    Ok(())
}

/// Removes the images; those that are not there are no error.
pub fn remove() {
    let mut command = Command::new("docker");
    command.args(["image", "rm", "--force"]).args(IMAGES);
    // The machine is as clean as it can be made; a failure to tidy up fails no test.
    let _ = process::run(command, b"", IMPORTING);
}

fn succeed(what: &str, command: Command, limit: Duration) -> Result<Outcome, String> {
    match process::run(command, b"", limit) {
        Ok(outcome) if outcome.is_success() => Ok(outcome),
        Ok(outcome) => Err(format!("cannot {what}: {outcome}")),
        Err(error) => Err(format!("cannot {what}: {error}")),
    }
}
