//===-- DamageTests.swift - what a C program hears of damage that opening does not meet --------------===//
// Groups are read when a claim first needs them: the call that failed for one says what is wrong and
// where, on every thread that asks, and so does the explanation.
// Not covered here: which damage is found (BlockGroupsTests).

import BGTestSupport
import CBlockGroups
import Foundation
import Testing

@Suite struct DamageTests {
    /// An image whose free-space tree nobody can read.
    private func damagedImage() throws -> Image {
        let image = try Image()
        try #require(try damageTree(10, ofImage: image.path) > 0)
        return image
    }

    @Test func aGroupThatCannotBeReadIsToldOfInTheWordsOfItsReader() throws {
        let image = try damagedImage()
        let fs = try image.open(1)
        defer { bg_fs_close(fs) }
        let allocator = bg_fs_allocator(fs)
        var options = claimOptions(65536)
        var extent = bg_extent(logical: 1, length: 2)
        // Once by whoever reads it, then from what is kept with the group.
        for _ in 0..<2 {
            #expect(bg_claim(allocator, &options, &extent) == -EUCLEAN)
            #expect(lastError().hasPrefix("block group "), "\(lastError())")
            #expect(lastError().contains("corrupt leaf: root=10 block="), "\(lastError())")
        }
        #expect(extent.logical == 1 && extent.length == 2)

        var text = [CChar](repeating: 0, count: 4096)
        #expect(bg_explain(allocator, &options, &text, text.count) == 0)
        let explained = String(decoding: text.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        #expect(explained.contains("could not be read: corrupt leaf: root=10"), "\(explained)")

        let visit: @convention(c) (UnsafeMutableRawPointer?, OpaquePointer?) -> CInt = { _, group in
            var stat = bg_group_stat()
            #expect(bg_group_stat(group, &stat) == 0 && stat.cached == 0)
            let place = "block group \(stat.logical): corrupt leaf: root=10 block="
            var options = claimOptions(4096)
            var extent = bg_extent()
            #expect(bg_group_for_each_free(group, { _, _, _ in 0 }, nil) == -EUCLEAN)
            #expect(lastError().hasPrefix(place), "\(lastError())")
            #expect(bg_claim(nil, nil, nil) == -EINVAL)
            #expect(bg_group_claim(group, &options, &extent) == -EUCLEAN)
            #expect(lastError().hasPrefix(place), "\(lastError())")
            return 0
        }
        #expect(bg_for_each_group(allocator, visit, nil) == 0)
    }

    @Test func aClaimIsToldOfAGroupOfItsOwnType() throws {
        let image = try damagedImage()
        let fs = try image.open(1)
        defer { bg_fs_close(fs) }
        let allocator = bg_fs_allocator(fs)
        for type in [metadata, data] {
            var options = claimOptions(65536)
            options.flags = type
            var extent = bg_extent()
            #expect(bg_claim(allocator, &options, &extent) == -EUCLEAN)
            let words = lastError().split(separator: " ")
            let logical = try #require(words.count > 2 ? UInt64(words[2].dropLast()) : nil)
            let group = try #require(bg_group_get(allocator, logical))
            defer { bg_group_put(group) }
            var stat = bg_group_stat()
            #expect(bg_group_stat(group, &stat) == 0)
            #expect(stat.flags & type != 0, "\(lastError())")
        }
    }

    @Test func whatIsFreeIsFoundInTheExtentTreeInstead() throws {
        let image = try damagedImage()
        let fs = try image.open(3)
        defer { bg_fs_close(fs) }
        var options = claimOptions(65536)
        var extent = bg_extent()
        #expect(bg_claim(bg_fs_allocator(fs), &options, &extent) == 0)
        #expect(bg_give_back(bg_fs_allocator(fs), &extent) == 0)
    }
}
