//===-- FullTests.swift - filled until nothing fits, emptied, and again ---------------------------===//
// Small files, large files, and names without data fill a file system until a call is refused with .noSpace;
// then everything is removed, which always succeeds, and as many bytes are free as in the beginning.
//
// Replay: BG_SEED=…; BG_TEST_SCALE=… for more rounds.
//===-------------------------------------------------------------------------------------------===//

import BGDevices
import BGDiskFormat
import BGTestSupport
import Foundation
import Testing

@testable import BlockGroups

@Suite(.enabled(if: Machine.hasBtrfsProgs, "needs mkfs.btrfs and btrfs check"), .serialized)
struct FullTests {
    enum Filling: CaseIterable {
        case smallFiles, largeFiles, names, mixed

        func size(_ random: inout SeededGenerator) -> Int {
            switch self {
            case .smallFiles: Int.random(in: 4096...60_000, using: &random)
            case .largeFiles: Int.random(in: 4 << 20...12 << 20, using: &random)
            case .names: Int.random(in: 1900...2040, using: &random)
            case .mixed: 1 << Int.random(in: 0...22, using: &random)
            }
        }
    }

    /// What is used, without what is free in which group.
    private struct Used: Equatable {
        var data: UInt64 = 0
        var total: UInt64 = 0

        init(_ filesystem: Filesystem) {
            filesystem.allocator.forEachGroup { group in
                let used = filesystem.usedBytes(ofGroupAt: group.logical) ?? 0
                total += used
                if group.flags.contains(.data) && !group.flags.contains(.metadata) { data += used }
                return true
            }
        }
    }

    @Test(
        arguments: [
            (Filling.smallFiles, 128, []), (.largeFiles, 1024, []),
            (.names, 128, ["-n", "4096", "-m", "single"]),
            (.mixed, 256, ["--mixed", "-n", "4096"]), (.mixed, 256, ["-m", "single"]),
        ]
    )
    func fillingAndEmptyingOverAndOverNeverWedges(
        filling: Filling,
        megabytes: Int,
        options: [String]
    ) throws {
        var random = SeededGenerator.printed("full of \(filling), \(megabytes) MiB \(options)")
        let image = try MkfsImage(sizes: [megabytes << 20], options)
        let devices = try image.memoryDevices()
        let bytes = [UInt8](repeating: 0xa5, count: 12 << 20)
        do {
            let filesystem = try openFilesystem(devices, readOnly: false)
            try filesystem.cacheFreeSpace()
            var first: Used?
            for round in 0..<2 * testScale {
                let made = try fill(filesystem, filling, bytes, &random)
                if round == 0 {
                    try filesystem.commit()
                    #expect(try faults(devices) == [])
                }
                try empty(filesystem, made, &random)
                try filesystem.commit()
                let used = Used(filesystem)
                #expect(used.data == 0, "round \(round): data is left")
                #expect(used == first ?? used, "round \(round): bytes are lost")
                first = first ?? used
                #expect(try space(filesystem).claimed == 0)
                print("round \(round): \(made.count) files fitted; \(used)")
            }
            try filesystem.close()
        }
        #expect(try faults(devices) == [])
        #expect(try complaint(devices, kernel: true) == nil)
        #expect(try TreeModel(reading: openFilesystem(devices)) == TreeModel())
    }

    /// Makes files until one is refused; some in folders.
    private func fill(
        _ filesystem: Filesystem,
        _ filling: Filling,
        _ bytes: [UInt8],
        _ random: inout SeededGenerator
    ) throws -> [String] {
        var made: [String] = []
        if filling == .names {
            // Data takes what chunks it can get: names then fill the rest sooner.
            made.append("large/file")
            try filesystem.makeDirectory("large")
            let file = try filesystem.createFile("large/file")
            expectRefusal(.noSpace) { () throws(FilesystemError) in
                for part in 0..<100 {
                    try file.write(at: part << 21, [UInt8](repeating: 1, count: 2 << 20))
                }
            }
            try file.close()
        }
        let name = String(repeating: "a long name ", count: filling == .names ? 20 : 3)
        // Ends: the file system is small.
        for number in 0..<1_000_000 {
            do throws(FilesystemError) {
                let folder = "f\(number / 500)"
                if number % 500 == 0 { try filesystem.makeDirectory(FilePath(folder)) }
                let path =
                    "\(folder)/\(name)\(number)"
                let file = try filesystem.createFile(FilePath(path))
                made.append(path)
                let size = filling.size(&random)
                try bytes.withUnsafeBytesThrowing { buffer throws(FilesystemError) in
                    try file.write(at: 0, from: UnsafeRawBufferPointer(rebasing: buffer[..<size]))
                }
                try file.close()
            } catch {
                try #require(error.code == .noSpace, "\(error.message)")
                return made
            }
        }
        throw ToolFailure(description: "never full")
    }

    private func empty(
        _ filesystem: Filesystem,
        _ made: [String],
        _ random: inout SeededGenerator
    ) throws {
        for path in made.shuffled(using: &random) {
            if Int.random(in: 0..<10, using: &random) == 0 {
                let file = try filesystem.openFile(FilePath(path))
                try file.truncate(to: 0)
                try file.close()
            }
            try filesystem.removeFile(FilePath(path))
        }
        for folder in Set(made.map { $0.prefix { $0 != "/" } }) {
            try filesystem.removeDirectory(FilePath(String(folder)))
        }
        // A folder whose first file was refused.
        for folder in try TreeModel(reading: filesystem).folders {
            try filesystem.removeDirectory(FilePath(folder))
        }
    }
}
