// Images under loop devices, and mounted by the kernel, for as long as a closure runs. Needs root.

import Foundation

/// Calls `body` with a loop device for each file, in the same order.
package func withLoopDevices<Result>(
    _ paths: some Sequence<String>,
    _ body: ([String]) throws -> Result
) throws -> Result {
    var loops: [String] = []
    defer { for loop in loops { _ = try? run("losetup", ["-d", loop]) } }
    for path in paths {
        let output = try run("losetup", ["-f", "--show", path])
        loops.append(output.trimmingCharacters(in: .whitespacesAndNewlines))
    }
    return try body(loops)
}

/// Mounts a btrfs file system at `point`, which is made where it is not there, calls `body` with it, and
/// unmounts.
///
/// - Parameter options: of mount, beside those that name the devices.
package func withMount<Result>(
    _ devices: [String],
    at point: String,
    _ options: [String] = [],
    _ body: (String) throws -> Result
) throws -> Result {
    try FileManager.default.createDirectory(atPath: point, withIntermediateDirectories: true)
    let words = (options + devices.map { "device=" + $0 }).joined(separator: ",")
    try run("mount", ["-t", "btrfs", "-o", words, devices[0], point])
    let result: Result
    do {
        result = try body(point)
    } catch {
        try? unmount(point)
        throw error
    }
    try unmount(point)
    return result
}

/// A process that another test is just starting may hold the mount for a moment: ask again.
package func unmount(_ point: String) throws {
    for _ in 0..<50 {
        do {
            try run("umount", [point])
            return
        } catch let failure as ToolFailure where failure.description.contains("busy") {
            usleep(200_000)
        }
    }
    try run("umount", [point])
}
