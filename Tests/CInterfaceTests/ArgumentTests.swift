//===-- ArgumentTests.swift - what the boundary refuses, and that a refusal changes nothing ------===//
// Every function of blockgroups.h for in-memory allocators: NULLs, sizes, reserved bytes, flags,
// alignment, ranges that overflow; out-parameters stay untouched. bg_fs_*: NULLs and flags only.

import CBlockGroups
import Foundation
import Testing

@Suite struct ArgumentTests {
    // MARK: bg_allocator_create

    @Test func creatingWithoutOptionsTakesTheDefaults() throws {
        var allocator: OpaquePointer?
        #expect(bg_allocator_create(nil, &allocator) == 0)
        #expect(bg_allocator_add_group(allocator, 0, 4096, data) == 0)
        #expect(bg_allocator_add_group(allocator, 4096, 512, data) == -EINVAL)
        bg_allocator_destroy(allocator)
    }

    @Test func creatingChecksEveryField() {
        let bad: [(inout bg_allocator_options) -> Void] = [
            { $0.size = 0 }, { $0.size -= 1 }, { $0.size += 8 }, { $0.size = UInt32.max },
            { $0.reserved = 1 }, { $0.flags = 2 }, { $0.flags = UInt32.max },
            { $0.sector_size = 1 }, { $0.sector_size = 511 }, { $0.sector_size = 3000 },
            { $0.sector_size = 256 }, { $0.sector_size = 131072 }, { $0.sector_size = UInt32.max },
        ]
        for adjust in bad {
            var allocator = OpaquePointer(bitPattern: 0x1234)
            var options = allocatorOptions(adjust)
            #expect(bg_allocator_create(&options, &allocator) == -EINVAL)
            #expect(allocator == OpaquePointer(bitPattern: 0x1234))
        }
        var options = allocatorOptions()
        #expect(bg_allocator_create(&options, nil) == -EINVAL)
        #expect(bg_allocator_create(nil, nil) == -EINVAL)
    }

    @Test(arguments: [0, 512, 1024, 4096, 65536] as [UInt32])
    func sectorSizesOfBtrfsAreTaken(size: UInt32) throws {
        let allocator = try TestAllocator(allocatorOptions { $0.sector_size = size })
        let unit = UInt64(size == 0 ? 4096 : size)
        try allocator.addFree(0, 8 * unit)
        #expect(allocator.claim(claimOptions(unit)).result == 0)
        #expect(allocator.claim(claimOptions(unit / 2)).result == -EINVAL)
    }

    // MARK: groups

    @Test func addingAGroupChecksEveryArgument() throws {
        let allocator = try TestAllocator()
        let bad: [(UInt64, UInt64, UInt64)] = [
            (1, sector, data), (0, 0, data), (0, 1, data), (0, sector, 0),
            (0, sector, data | system),
            (0, sector, metadata | system), (0, sector, 7), (0, sector, data | 1 << 3 | 1 << 4),
            (0, sector, data | 1 << 11), (0, sector, data | 1 << 48), (0, sector, 1 << 4),
            (0, sector << 31, data), (UInt64.max - sector + 1, sector, data),
            (UInt64.max - sector + 1, 2 * sector, data), (sector, UInt64.max - sector + 1, data),
        ]
        for (logical, length, flags) in bad {
            #expect(
                bg_allocator_add_group(allocator.pointer, logical, length, flags) == -EINVAL,
                "\(logical) \(length) \(flags)"
            )
        }
        #expect(bg_allocator_add_group(nil, 0, sector, data) == -EINVAL)
        for profile in [0, 3, 4, 5, 6, 7, 8, 9, 10] as [UInt64] {
            let flags = data | (profile == 0 ? 0 : 1 << profile)
            #expect(bg_allocator_add_group(allocator.pointer, profile * MiB, MiB, flags) == 0)
        }
        #expect(bg_allocator_add_group(allocator.pointer, 0, MiB, data) == -EEXIST)
        #expect(bg_allocator_add_group(allocator.pointer, 0, 64 * MiB, data) == -EEXIST)
    }

    @Test func removingAGroupTellsWhyNot() throws {
        let allocator = try TestAllocator()
        try allocator.addFree(MiB, MiB)
        #expect(bg_allocator_remove_group(nil, MiB) == -EINVAL)
        #expect(bg_allocator_remove_group(allocator.pointer, 0) == -ENOENT)
        #expect(bg_allocator_remove_group(allocator.pointer, MiB + sector) == -ENOENT)
        let claimed = allocator.claim(claimOptions(sector))
        #expect(bg_allocator_remove_group(allocator.pointer, MiB) == -EBUSY)
        #expect(allocator.giveBack(claimed.extent.logical, sector) == 0)
        #expect(bg_allocator_remove_group(allocator.pointer, MiB) == 0)
        #expect(bg_allocator_remove_group(allocator.pointer, MiB) == -ENOENT)
        #expect(bg_group_get(allocator.pointer, MiB) == nil)
    }

    @Test func nothingIsDoneForNull() throws {
        bg_allocator_destroy(nil)
        bg_group_put(nil)
        #expect(bg_group_get(nil, 0) == nil)
        var stat = bg_group_stat()
        #expect(bg_group_stat(nil, &stat) == -EINVAL)
        #expect(bg_group_add_free_space(nil, 0, sector) == -EINVAL)
        #expect(bg_group_remove_free_space(nil, 0, sector) == -EINVAL)
        var added = 7
        var many = [bg_extent(logical: 0, length: sector)]
        #expect(bg_add_free_space(nil, &many, 1, &added) == -EINVAL)
        #expect(bg_group_set_read_only(nil, 1) == -EINVAL)
        #expect(bg_group_for_each_free(nil, { _, _, _ in 0 }, nil) == -EINVAL)
        #expect(bg_for_each_group(nil, { _, _ in 0 }, nil) == -EINVAL)
        var options = claimOptions(sector)
        var extent = bg_extent(logical: 1, length: 2)
        #expect(bg_claim(nil, &options, &extent) == -EINVAL)
        #expect(bg_group_claim(nil, &options, &extent) == -EINVAL)
        #expect(bg_give_back(nil, &extent) == -EINVAL)
        #expect(bg_explain(nil, &options, nil, 0) == -EINVAL)
        #expect(extent.logical == 1 && extent.length == 2)
        let allocator = try TestAllocator()
        let group = try allocator.addFree(0, MiB)
        #expect(bg_add_free_space(allocator.pointer, nil, 1, &added) == -EINVAL)
        #expect(bg_add_free_space(allocator.pointer, &many, 1, nil) == -EINVAL)
        #expect(added == 7)
        #expect(bg_claim(allocator.pointer, nil, &extent) == -EINVAL)
        #expect(bg_claim(allocator.pointer, &options, nil) == -EINVAL)
        #expect(bg_group_claim(group, nil, &extent) == -EINVAL)
        #expect(bg_group_claim(group, &options, nil) == -EINVAL)
        #expect(bg_give_back(allocator.pointer, nil) == -EINVAL)
        #expect(bg_group_stat(group, nil) == -EINVAL)
        #expect(bg_group_for_each_free(group, nil, nil) == -EINVAL)
        #expect(bg_for_each_group(allocator.pointer, nil, nil) == -EINVAL)
        #expect(bg_explain(allocator.pointer, nil, nil, 0) == -EINVAL)
        #expect(bg_explain(allocator.pointer, &options, nil, 1) == -EINVAL)
        #expect(try allocator.stat(0).free_bytes == MiB)
    }

    @Test func freeSpaceOutsideTheGroupIsRefused() throws {
        let allocator = try TestAllocator()
        #expect(bg_allocator_add_group(allocator.pointer, MiB, MiB, data) == 0)
        let group = try allocator.group(MiB)
        let bad: [(UInt64, UInt64)] = [
            (MiB, 0), (MiB, 1), (MiB + 1, sector), (MiB - sector, sector),
            (MiB - sector, 2 * sector),
            (2 * MiB, sector), (2 * MiB - sector, 2 * sector), (0, UInt64.max & ~4095),
            (MiB + sector, UInt64.max - sector + 1), (UInt64.max - 4095, sector),
            (MiB, MiB + sector), (MiB, 1 << 44),
        ]
        for (logical, length) in bad {
            #expect(
                bg_group_add_free_space(group, logical, length) == -EINVAL,
                "\(logical) \(length)"
            )
            #expect(bg_group_remove_free_space(group, logical, length) == -EINVAL)
        }
        #expect(try allocator.stat(MiB).free_bytes == 0)
        #expect(bg_group_add_free_space(group, MiB, MiB) == 0)
        #expect(bg_group_add_free_space(group, MiB, sector) == -EEXIST)
        #expect(bg_group_remove_free_space(group, MiB, sector) == 0)
        #expect(bg_group_remove_free_space(group, MiB, 2 * sector) == -ENOENT)
        #expect(bg_group_add_free_space(group, MiB, 2 * sector) == -EEXIST)
        #expect(try allocator.stat(MiB).free_bytes == MiB - sector)
    }

    @Test func manyRangesAreAddedUpToTheFirstThatIsRefused() throws {
        let allocator = try TestAllocator()
        for logical in [MiB, 4 * MiB] {
            #expect(bg_allocator_add_group(allocator.pointer, logical, MiB, data) == 0)
        }
        var extents = [
            bg_extent(logical: 5 * MiB - sector, length: sector),
            bg_extent(logical: MiB + 8 * sector, length: 2 * sector),
            bg_extent(logical: MiB, length: sector),
        ]
        var added = 7
        #expect(bg_add_free_space(allocator.pointer, &extents, 0, &added) == 0)
        #expect(added == 0)
        #expect(bg_add_free_space(allocator.pointer, &extents, 3, &added) == 0)
        #expect(added == 3 && extents.map(\.logical) == extents.map(\.logical).sorted())
        #expect(try allocator.stat(MiB).free_bytes == 3 * sector)
        #expect(try allocator.stat(4 * MiB).free_bytes == sector)
        extents = [
            bg_extent(logical: 3 * MiB, length: sector),
            bg_extent(logical: MiB + 4 * sector, length: sector),
        ]
        #expect(bg_add_free_space(allocator.pointer, &extents, 2, &added) == -EINVAL)
        #expect(added == 1)
        #expect(try allocator.stat(MiB).free_bytes == 4 * sector)
        extents = [bg_extent(logical: MiB + 9 * sector, length: 2 * sector)]
        #expect(bg_add_free_space(allocator.pointer, &extents, 1, &added) == -EEXIST)
        #expect(added == 0)
    }

    // MARK: claims

    @Test func aClaimChecksEveryField() throws {
        let allocator = try TestAllocator()
        let group = try allocator.addFree(0, MiB)
        let bad: [(inout bg_claim_options) -> Void] = [
            { $0.size = 0 }, { $0.size -= 4 }, { $0.size += 8 }, { $0.reserved = 1 },
            { $0.length = 0 }, { $0.length = 1 }, { $0.length = sector + 1 },
            { $0.length = UInt64.max }, { $0.flags = 0 }, { $0.flags = 3 }, { $0.flags = 6 },
            { $0.flags = 7 }, { $0.flags = 1 << 3 }, { $0.flags |= 3 << 3 },
            { $0.flags |= 1 << 11 },
            { $0.flags |= 1 << 63 }, { $0.flags |= 1 << 48 | 1 << 4 }, { $0.length_min = 1 },
            { $0.length_min = 2 * sector }, { $0.alignment = 100 }, { $0.alignment = sector + 512 },
            {
                $0.search_start = 2 * sector
                $0.search_end = sector
            },
            {
                $0.exclude_start = UInt64.max
                $0.exclude_length = 2
            },
        ]
        for (index, adjust) in bad.enumerated() {
            let claimed = allocator.claim(claimOptions(sector, data, adjust))
            #expect(claimed.result == -EINVAL, "case \(index)")
            #expect(claimed.extent.logical == 1 && claimed.extent.length == 2, "case \(index)")
            var options = claimOptions(sector, data, adjust)
            var extent = bg_extent(logical: 1, length: 2)
            // The one field that a claim from a chosen group can do without.
            if options.flags != 0 {
                #expect(bg_group_claim(group, &options, &extent) == -EINVAL, "case \(index)")
            }
            #expect(extent.logical == 1 && extent.length == 2)
            #expect(bg_explain(allocator.pointer, &options, nil, 0) == -EINVAL, "case \(index)")
        }
        #expect(try allocator.stat(0).free_bytes == MiB)
    }

    @Test func absurdWishesAreNoSpaceAndNotACrash() throws {
        let allocator = try TestAllocator()
        try allocator.addFree(0, MiB)
        let absurd: [(inout bg_claim_options) -> Void] = [
            { $0.search_start = UInt64.max }, { $0.search_end = 1 },
            { $0.exclude_length = UInt64.max },
            {
                $0.alignment = 1 << 63; $0.search_start = 1
            },
            { $0.length = MiB + sector }, { $0.length = (1 << 31 - 1) * sector },
        ]
        for (index, adjust) in absurd.enumerated() {
            let claimed = allocator.claim(claimOptions(sector, data, adjust))
            #expect(claimed.result == -ENOSPC, "case \(index)")
            #expect(claimed.extent.logical == 1 && claimed.extent.length == 2)
        }
        for adjust in [
            { $0.empty_size = UInt64.max }, { $0.hint = UInt64.max }, { $0.alignment = 1 << 63 },
            { $0.search_end = UInt64.max },
        ] as [(inout bg_claim_options) -> Void] {
            let claimed = allocator.claim(claimOptions(sector, data, adjust))
            #expect(claimed.result == 0)
            #expect(allocator.giveBack(claimed.extent.logical, sector) == 0)
        }
    }

    @Test func aGroupClaimNeedsNoFlags() throws {
        let allocator = try TestAllocator()
        let group = try allocator.addFree(0, MiB)
        var options = claimOptions(sector, 0)
        var extent = bg_extent(logical: 1, length: 2)
        #expect(bg_group_claim(group, &options, &extent) == 0)
        #expect(extent.logical == 0 && extent.length == sector)
    }

    @Test func aGroupClaimTellsWhyNot() throws {
        let allocator = try TestAllocator()
        let group = try allocator.addFree(0, MiB)
        var options = claimOptions(2 * MiB)
        var extent = bg_extent(logical: 1, length: 2)
        #expect(bg_group_claim(group, &options, &extent) == -ENOSPC)
        options.length = sector
        #expect(bg_group_set_read_only(group, 5) == 0)
        #expect(bg_group_claim(group, &options, &extent) == -EROFS)
        #expect(extent.logical == 1 && extent.length == 2)
        #expect(bg_group_set_read_only(group, 0) == 0)
        #expect(bg_group_claim(group, &options, &extent) == 0)
        #expect(extent.logical == 0 && extent.length == sector)
    }

    @Test func aGiveBackTellsWhyNot() throws {
        let allocator = try TestAllocator()
        try allocator.addFree(0, MiB)
        try allocator.addFree(MiB, MiB)
        let first = allocator.claim(claimOptions(MiB)).extent
        let second = allocator.claim(claimOptions(MiB)).extent
        #expect(first.logical != second.logical)
        let bad: [(UInt64, UInt64)] = [
            (0, 0), (1, sector), (0, 100), (2 * MiB, sector), (MiB - sector, 2 * sector),
            (0, 2 * MiB), (0, UInt64.max & ~4095), (UInt64.max - 4095, sector), (sector, 1 << 60),
            (sector, UInt64.max - sector + 1),
        ]
        for (logical, length) in bad {
            #expect(allocator.giveBack(logical, length) == -EINVAL, "\(logical) \(length)")
        }
        #expect(try allocator.stat(0).free_bytes == 0)
        #expect(allocator.giveBack(sector, sector) == 0)
        #expect(allocator.giveBack(0, 2 * sector) == -EEXIST)
        #expect(allocator.giveBack(sector, sector) == -EEXIST)
        #expect(try allocator.stat(0).free_bytes == sector)
        #expect(try allocator.stat(0).claimed_bytes == MiB - sector)
    }

    // MARK: file systems, as far as they need none

    @Test func openingChecksItsArguments() {
        var fs = OpaquePointer(bitPattern: 0x1234)
        #expect(bg_fs_open(nil, 1, 1, &fs) == -EINVAL)
        let path = strdup("/nonexistent/image")
        defer { free(path) }
        var paths: [UnsafePointer<CChar>?] = [UnsafePointer(path), nil]
        #expect(bg_fs_open(&paths, 0, 1, &fs) == -EINVAL)
        #expect(bg_fs_open(&paths, 1, 1, nil) == -EINVAL)
        #expect(bg_fs_open(&paths, 1, 5, &fs) == -EINVAL)
        #expect(bg_fs_open(&paths, 2, 1, &fs) == -EINVAL)
        #expect(bg_fs_open(&paths, 1, 1, &fs) == -ENOENT)
        #expect(lastError() != "")
        #expect(bg_fs_open(&paths, 1, 0, &fs) == -ENOENT)
        #expect(fs == OpaquePointer(bitPattern: 0x1234))
        #expect(bg_fs_close(nil) == 0)
        #expect(bg_fs_allocator(nil) == nil)
        #expect(bg_fs_pread(nil, nil, 0, 0) == -EINVAL)
        #expect(bg_fs_pwrite(nil, nil, 0, 0) == -EINVAL)
        #expect(bg_fs_commit(nil) == -EINVAL)
        #expect(bg_fs_claim(nil, nil, nil) == -EINVAL)
        #expect(bg_fs_remove_group(nil, 0) == -EINVAL)
        #expect(bg_fs_statistics(nil, nil) == -EINVAL)
    }
}
