//===-- Support.swift - what the tests of the C boundary share -----------------------------------===//

import CBlockGroups
import Foundation
import Testing

let MiB: UInt64 = 1 << 20
let sector: UInt64 = 4096
let data: UInt64 = 1
let system: UInt64 = 2
let metadata: UInt64 = 4

func claimOptions(
    _ length: UInt64,
    _ flags: UInt64 = data,
    _ adjust: (inout bg_claim_options) -> Void = { _ in }
) -> bg_claim_options {
    var options = bg_claim_options()
    options.size = UInt32(MemoryLayout<bg_claim_options>.size)
    options.flags = flags
    options.length = length
    adjust(&options)
    return options
}

func allocatorOptions(
    _ adjust: (inout bg_allocator_options) -> Void = { _ in }
) -> bg_allocator_options {
    var options = bg_allocator_options()
    options.size = UInt32(MemoryLayout<bg_allocator_options>.size)
    adjust(&options)
    return options
}

/// An allocator that is destroyed when the test is over, and the groups that it was asked for.
final class TestAllocator {
    let pointer: OpaquePointer
    private var groups: [OpaquePointer] = []

    init(_ options: bg_allocator_options = allocatorOptions()) throws {
        var created: OpaquePointer?
        var options = options
        try #require(bg_allocator_create(&options, &created) == 0)
        pointer = try #require(created)
    }

    deinit {
        for group in groups { bg_group_put(group) }
        bg_allocator_destroy(pointer)
    }

    /// A group all of which is free.
    @discardableResult
    func addFree(_ logical: UInt64, _ length: UInt64, _ flags: UInt64 = data) throws
        -> OpaquePointer
    {
        try #require(bg_allocator_add_group(pointer, logical, length, flags) == 0)
        let found = try group(logical)
        try #require(bg_group_add_free_space(found, logical, length) == 0)
        return found
    }

    func group(_ logical: UInt64) throws -> OpaquePointer {
        let group = try #require(bg_group_get(pointer, logical))
        groups.append(group)
        return group
    }

    /// The result, and the extent as it is afterwards: 1 and 2 where the call left it alone.
    func claim(_ options: bg_claim_options) -> (result: CInt, extent: bg_extent) {
        var options = options
        var extent = bg_extent(logical: 1, length: 2)
        let result = bg_claim(pointer, &options, &extent)
        return (result, extent)
    }

    func giveBack(_ logical: UInt64, _ length: UInt64) -> CInt {
        var extent = bg_extent(logical: logical, length: length)
        return bg_give_back(pointer, &extent)
    }

    func stat(_ logical: UInt64) throws -> bg_group_stat {
        let group = try #require(bg_group_get(pointer, logical))
        defer { bg_group_put(group) }
        var stat = bg_group_stat()
        try #require(bg_group_stat(group, &stat) == 0)
        return stat
    }
}

func lastError() -> String {
    bg_strerror(nil).map { String(cString: $0) } ?? "none"
}
