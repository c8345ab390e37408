// What we made, judged by others: `btrfs check` in both modes, the kernel, which mounts it, writes and
// scrubs it. And the kernel's next chunk is the one that we would have made.
//
// Needs btrfs-progs; the part with several devices and the kernel needs root and loop devices, too.
// Skipped where there are none.

import BGDevices
import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

@testable import BlockGroups

/// A file system that we made, on image files.
private final class FormattedImage {
    let folder: URL
    let paths: [String]

    init(_ sizes: [UInt64], _ options: FormatOptions) throws {
        folder = FileManager.default.temporaryDirectory
            .appendingPathComponent("blockgroups-" + UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let folder = folder
        paths = try sizes.enumerated().map { index, size in
            let path = folder.appendingPathComponent("device\(index)").path
            _ = try path.withCString { try FileDevice(creating: $0, byteCount: size) }
            return path
        }
        try Filesystem.format(paths: paths, options)
    }

    deinit { try? FileManager.default.removeItem(at: folder) }

    /// Calls `body` with loop devices over the images.
    func looped(_ body: ([String]) throws -> Void) throws { try withLoopDevices(paths, body) }

    func mounted(_ loops: [String], _ body: (String) throws -> Void) throws {
        try withMount(loops, at: folder.appendingPathComponent("mount").path) { try body($0) }
    }
}

private func expectClean(_ device: String) throws {
    for mode in ["original", "lowmem"] {
        let text = try run("btrfs", ["check", "--readonly", "--mode", mode, device])
        #expect(text.contains("no error found"), "\(mode): \(text)")
        let complaints = text.split(separator: "\n").filter { line in
            // Other loop devices of the machine come and go.
            let line = line.lowercased()
            return !line.contains("scan")
                && ["error:", "warning:", "mismatch", "missing", "wrong", "invalid", "bad "]
                    .contains { line.contains($0) }
        }
        #expect(complaints.isEmpty, "\(mode): \(text)")
    }
}

@Suite(.enabled(if: Machine.hasMkfs, "btrfs-progs are not installed"), .serialized)
struct FormatRefereeTests {
    @Test(arguments: FormatCase.shapes.filter { $0.deviceCount == 1 })
    func btrfsCheckAcceptsIt(_ made: FormatCase) throws {
        let image = try FormattedImage([150 << 20], made.options)
        try expectClean(image.paths[0])
    }

    @Test(.enabled(if: Machine.canMount, "no right to mount"), arguments: FormatCase.all)
    func theKernelMountsWritesAndScrubsIt(_ made: FormatCase) throws {
        let sizes = (0..<made.deviceCount).map { UInt64(300 + 50 * $0) << 20 }
        let image = try FormattedImage(sizes, made.options)
        try image.looped { loops in
            try expectClean(loops[0])
            try image.mounted(loops) { point in
                for number in 0..<20 {
                    let data = Data(repeating: UInt8(number), count: 50_000 * number)
                    try data.write(to: URL(fileURLWithPath: "\(point)/file\(number)"))
                }
                try run("sync", ["-f", point])
                let scrub = try run("btrfs", ["scrub", "start", "-B", point])
                #expect(scrub.contains("no errors found"), "\(scrub)")
            }
            try expectClean(loops[0])
        }
        let filesystem = try Filesystem(paths: image.paths, readOnly: false)
        var file = try OrphanFile(filesystem, inode: 300)
        try file.append(filesystem, bytes: pattern(7, count: 1 << 20))
        try filesystem.close()
    }

    /// The kernel is made to make a chunk of data, twice; both times ours would be the same. No two
    /// devices have the same room: which the kernel takes then is chance.
    @Test(
        .enabled(if: Machine.canMount, "no right to mount"),
        arguments: [
            (Profile.single, [1024]), (.single, [600, 2048]), (.raid0, [700, 1024, 800]),
            (.raid1, [800, 1024, 2048]), (.raid10, [1024, 1100, 1200, 1300, 700]), (.dup, [1500]),
            (.raid1c3, [700, 900, 800, 1000]),
        ] as [(Profile, [UInt64])]
    )
    func theKernelsNextChunkIsTheOneThatWeWouldMake(
        _ profile: Profile,
        _ megabytes: [UInt64]
    ) throws {
        var options = FormatOptions()
        options.dataProfile = profile
        let image = try FormattedImage(megabytes.map { $0 << 20 }, options)
        let flags = ChunkFlags.data | profile.flags
        for round in 0..<2 {
            let before = try FilesystemReader.open(paths: image.paths)
            var space = try DeviceSpace(before)
            let found = space.planChunk(flags)
            let plan = try #require(found)
            try image.looped { loops in
                try image.mounted(loops) { point in
                    // More than is free in the chunks of data that there are, by a sector.
                    let data = before.blockGroups.filter { $0.flags.contains(.data) }
                    let free = data.reduce(UInt64(0)) { $0 + $1.length - $1.used }
                    try run("fallocate", ["-l", "\(free + 4096)", "\(point)/file\(round)"])
                    try run("sync", ["-f", point])
                }
                try expectClean(loops[0])
            }
            let after = try FilesystemReader.open(paths: image.paths)
            let made = after.volume.chunkMap.chunks.map(\.item).filter { item in
                before.volume.chunk(at: item.logical) == nil && item.flags.type == .data
            }
            #expect(made.first?.logical == plan.chunk.logical)
            #expect(made.first?.length == plan.chunk.length)
            #expect(made.first?.stripes == plan.chunk.stripes)
        }
    }
}
