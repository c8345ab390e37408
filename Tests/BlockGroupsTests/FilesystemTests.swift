// The public Filesystem on images made by mkfs.btrfs: its allocator serves from real groups, and says
// what is lacking when it cannot.
// Not covered here: what is free (FreeSpaceTests, RefereeTests), damage (DamagedImageTests).

import BGDevices
import BGDiskFormat
import BGTestSupport
import Testing

@testable import BlockGroups

@Suite(.enabled(if: Machine.hasMkfs, "needs mkfs.btrfs"))
struct FilesystemTests {
    private let mib: UInt64 = 1 << 20

    @Test func claimsComeFromTheGroupsOfTheImageAndGoBack() throws {
        let image = try MkfsImage(sizes: [512 << 20])
        let filesystem = try Filesystem(paths: image.paths)
        let allocator = filesystem.allocator
        var request = ClaimRequest(length: 64 << 10, flags: .metadata)
        request.alignment = 64 << 10
        let claim = try allocator.claim(request)
        let group = try #require(allocator.group(at: claim.logical))
        #expect(group.flags.contains(.metadata))
        #expect(claim.logical % (64 << 10) == 0)
        let before = group.statistics
        claim.giveBack()
        #expect(group.statistics.freeBytes == before.freeBytes + (64 << 10))
        #expect(group.statistics.claimedBytes == 0)
    }

    @Test func everyGroupsFreeAndUsedBytesMakeUpTheGroup() throws {
        let image = try MkfsImage(sizes: [512 << 20])
        let filesystem = try Filesystem(paths: image.paths)
        var steps = 0
        try filesystem.cacheFreeSpace { done, total in
            steps += 1
            #expect(done == steps && total >= done)
            return true
        }
        #expect(steps > 0)
        filesystem.allocator.forEachGroup { group in
            let used = filesystem.usedBytes(ofGroupAt: group.logical) ?? 0
            #expect(group.statistics.freeBytes + used + group.superBytes == group.length)
            #expect(filesystem.cacheFailure(ofGroupAt: group.logical) == nil)
            return true
        }
    }

    @Test func aRefusalTellsWhetherDevicesHaveHolesForAChunk() throws {
        let image = try MkfsImage(sizes: [1 << 30])
        let filesystem = try Filesystem(paths: image.paths)
        let whole = try filesystem.allocator.explain(ClaimRequest(length: 8 << 30, flags: .data))
        #expect(
            whole.contains("the devices have holes for a chunk, but none can be allocated here")
        )
        let mirrored = try filesystem.allocator.explain(
            ClaimRequest(length: mib, flags: [.data, .raid1])
        )
        #expect(mirrored.contains("no device has a hole for a chunk"))
    }

    @Test func theLongestHoleOfADeviceIsWhatItsChunksLeave() throws {
        let image = try MkfsImage(sizes: [1 << 30])
        let volume = try Filesystem(paths: image.paths).reader.volume
        let device = try #require(volume.devices.first)
        // The model: which MiB of the device any stripe touches, below 1 MiB none may.
        var taken = [Bool](repeating: false, count: 1024)
        taken[0] = true
        for chunk in volume.chunkMap.chunks {
            for stripe in chunk.item.stripes {
                let end = stripe.physical + chunk.item.stripeBytes
                for index in stripe.physical / mib..<(end + mib - 1) / mib {
                    taken[Int(index)] = true
                }
            }
        }
        let longest = taken.split(separator: true).map(\.count).max() ?? 0
        #expect(longest > 0)
        #expect(volume.longestHole(device) / mib == UInt64(longest))
    }
}
