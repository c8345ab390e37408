//===-- PlacingTests.swift - engines that place data themselves, through the C interface ------------===//
// Format, open, claim, write, attach, commit, close, open again, read: as a C program does it. Needs neither
// root nor btrfs-progs.
// Not covered here: what the calls do beneath (BlockGroupsTests), files written as such.
//===-------------------------------------------------------------------------------------------------===//

import CBlockGroups
import Foundation
import Testing

@testable import BGCInterface

final class Image {
    let path = FileManager.default.temporaryDirectory
        .appendingPathComponent("blockgroups-" + UUID().uuidString).path

    init() throws {
        var options = bg_format_options()
        options.size = UInt32(MemoryLayout<bg_format_options>.size)
        options.device_bytes = 256 << 20
        try withPaths { try #require(bg_fs_format($0, 1, &options) == 0, "\(lastError())") }
    }

    deinit { unlink(path) }

    private func withPaths<Result>(
        _ body: (UnsafePointer<UnsafePointer<CChar>?>) throws -> Result
    ) rethrows -> Result {
        try path.withCString { path in
            var paths: [UnsafePointer<CChar>?] = [path]
            return try body(&paths)
        }
    }

    func open(_ flags: UInt32 = 0) throws -> OpaquePointer {
        var fs: OpaquePointer?
        withPaths { #expect(bg_fs_open($0, 1, flags, &fs) == 0, "\(lastError())") }
        return try #require(fs)
    }

    func openingFails(_ flags: UInt32 = 0) -> CInt {
        var fs: OpaquePointer?
        return withPaths { bg_fs_open($0, 1, flags, &fs) }
    }
}

/// What a visit of the groups found.
private final class Groups {
    var all: [(logical: UInt64, isData: Bool)] = []
}

struct PlacingTests {
    private let kib64 = [UInt8]((0..<65536).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 9) })

    private func claim(_ fs: OpaquePointer, _ length: UInt64) throws -> bg_extent {
        var extent = bg_extent()
        var options = claimOptions(length)
        try #require(bg_claim(bg_fs_allocator(fs), &options, &extent) == 0)
        return extent
    }

    @Test func whatIsPlacedAndAttachedIsThereAfterTheCommit() throws {
        let image = try Image()
        var fs = try image.open()
        var extent = try claim(fs, 65536)
        #expect(bg_fs_pwrite(fs, kib64, kib64.count, extent.logical) == 0)
        var file: OpaquePointer?
        #expect(bg_file_create(fs, "/placed", nil, &file) == 0)
        #expect(bg_file_attach(file, 0, &extent) == 0, "\(lastError())")
        // Recorded: neither written again nor attached twice.
        #expect(bg_fs_pwrite(fs, kib64, 4096, extent.logical) == -EBUSY)
        #expect(bg_file_attach(file, 65536, &extent) != 0)
        #expect(bg_file_close(file) == 0)
        #expect(bg_fs_commit(fs) == 0)
        // While it is open, no second writer gets it.
        #expect(image.openingFails() == -EBUSY)
        #expect(bg_fs_close(fs) == 0)

        fs = try image.open(UInt32(BG_OPEN_READ_ONLY))
        var found = [UInt8](repeating: 0, count: kib64.count)
        #expect(bg_fs_pread(fs, &found, found.count, extent.logical) == 0)
        #expect(found == kib64)
        #expect(bg_fs_pwrite(fs, kib64, kib64.count, extent.logical) == -EROFS)
        #expect(bg_fs_commit(fs) == -EROFS)
        var length = 0
        found = [UInt8](repeating: 0, count: kib64.count)
        #expect(bg_file_open(fs, "/placed", &file) == 0)
        #expect(bg_file_pread(file, &found, found.count, 0, &length) == 0)
        #expect(length == kib64.count && found == kib64)
        #expect(bg_file_close(file) == 0)
        var statistics = bg_fs_statistics()
        statistics.read_errors = 9
        #expect(bg_fs_statistics(fs, &statistics) == 0)
        #expect(statistics.read_errors == 0 && statistics.checksum_mismatches == 0)
        #expect(bg_fs_close(fs) == 0)
    }

    @Test func whatWasGivenBackIsNotWritten() throws {
        let image = try Image()
        let fs = try image.open()
        var extent = try claim(fs, 65536)
        #expect(bg_fs_pwrite(fs, kib64, 100, extent.logical + 5) == 0)
        #expect(bg_fs_pwrite(fs, kib64, kib64.count, extent.logical + 1) == -EINVAL)
        #expect(bg_give_back(bg_fs_allocator(fs), &extent) == 0)
        #expect(bg_fs_pwrite(fs, kib64, 100, extent.logical) == -EINVAL)
        #expect(lastError().contains("claimed"))
        #expect(bg_fs_pwrite(fs, kib64, 0, extent.logical) == 0)
        #expect(bg_fs_close(fs) == 0)
    }

    @Test func aClaimOnTheFileSystemGetsBackWhatACommitFrees() throws {
        let image = try Image()
        let fs = try image.open()
        var file: OpaquePointer?
        #expect(bg_file_create(fs, "/all", nil, &file) == 0)
        var offset: UInt64 = 0
        let mib = [UInt8](repeating: 1, count: 1 << 20)
        for piece in [mib, kib64] {
            var result: CInt = 0
            while result == 0 {
                result = bg_file_pwrite(file, piece, piece.count, offset)
                if result == 0 { offset += UInt64(piece.count) }
            }
            #expect(result == -ENOSPC, "\(lastError())")
        }
        #expect(bg_file_close(file) == 0)
        #expect(bg_fs_commit(fs) == 0)
        #expect(bg_unlink(fs, "/all") == 0)
        var options = claimOptions(1 << 20)
        var extent = bg_extent()
        #expect(bg_claim(bg_fs_allocator(fs), &options, &extent) == -ENOSPC)
        #expect(bg_fs_claim(fs, &options, &extent) == 0, "\(lastError())")
        #expect(extent.length == 1 << 20)
        #expect(bg_give_back(bg_fs_allocator(fs), &extent) == 0)
        options.flags = 1 << 2  // metadata
        #expect(bg_fs_claim(fs, &options, &extent) == -EINVAL)
        options.size = 8
        #expect(bg_fs_claim(fs, &options, &extent) == -EINVAL)
        #expect(extent.length == 1 << 20)
        #expect(bg_fs_close(fs) == 0)
    }

    @Test func emptyGroupsGoAndTheLastOnesOfMetadataStay() throws {
        let image = try Image()
        var fs = try image.open()
        let groups = Groups()
        let context = Unmanaged.passUnretained(groups).toOpaque()
        let failed = bg_for_each_group(
            bg_fs_allocator(fs),
            { context, group in
                var stat = bg_group_stat()
                let result = bg_group_stat(group, &stat)
                let groups = Unmanaged<Groups>.fromOpaque(context!).takeUnretainedValue()
                groups.all.append((stat.logical, stat.flags & data != 0))
                return result
            },
            context
        )
        #expect(failed == 0)
        let dataCount = groups.all.filter { $0.isData }.count
        #expect(dataCount > 0 && dataCount < groups.all.count)
        for group in groups.all {
            #expect(bg_fs_remove_group(fs, group.logical) == (group.isData ? 0 : -EBUSY))
        }
        #expect(bg_fs_remove_group(fs, 12345) == -ENOENT)
        #expect(bg_fs_close(fs) == 0)
        // A claim then makes a group anew.
        fs = try image.open()
        var extent = try claim(fs, 4096)
        #expect(bg_give_back(bg_fs_allocator(fs), &extent) == 0)
        #expect(bg_fs_close(fs) == 0)
    }
}
