//===-- DataCheck.swift - every sum against every copy of its data --------------------------------===//
// Reads the checksum tree once more and behind each item the data, a stripe's length at a time, from
// each copy (of raid5 and raid6, each way to rebuild it), and compares sector by sector.
//===-------------------------------------------------------------------------------------------===//

import BGDevices
import BGDiskFormat
import BGTrees

extension Checker {
    func verifyData() {
        guard let root = root(of: ObjectID.checksumTree) else { return }
        let total = checksums.runs.reduce(0) { $0 &+ $1.length }
        var done: UInt64 = 0
        var buffer = [UInt8](repeating: 0, count: Int(stripeLength))
        var walk = LeafWalk(self, root.tree, isAccounting: false)
        while let leaf = walk.next() {
            for slot in 0..<leaf.itemCount where !isStopped {
                verifyItem(leaf, slot, &buffer)
                let sums = leaf.itemRange(slot).count / superBlock.checksumType.byteCount
                done += UInt64(sums) * sectorSize
                advance(.data, done, of: total)
            }
        }
    }

    private func verifyItem(_ leaf: TreeBlock, _ slot: Int, _ buffer: inout [UInt8]) {
        let key = leaf.key(slot)
        let sums = leaf.itemRange(slot)
        let sumBytes = superBlock.checksumType.byteCount
        guard key.type == .extentChecksum, key.offset.isAligned(to: superBlock.sectorSize) else {
            return
        }
        var at = key.offset
        var sum = sums.lowerBound
        while sum + sumBytes <= sums.upperBound {
            let left = UInt64((sums.upperBound - sum) / sumBytes) * sectorSize
            guard let chunk = volume.chunkMap.chunk(at: at) else { return }
            let place = chunk.place(offset: at - chunk.item.logical)
            // At most to the end of the piece of a stripe, so that all of it lies on one device.
            let length = min(left, place.contiguous, stripeLength)
            guard length >= sectorSize else { return }
            for mirror in 0..<chunk.mirrorCount {
                verify(at, Int(length), mirror, leaf, sum, &buffer)
            }
            at += length
            sum += Int(length / sectorSize) * sumBytes
        }
    }

    private func verify(
        _ logical: UInt64,
        _ length: Int,
        _ mirror: Int,
        _ leaf: TreeBlock,
        _ firstSum: Int,
        _ buffer: inout [UInt8]
    ) {
        let devid = devid(ofMirror: mirror, at: logical)
        do throws(FilesystemError) {
            var span = buffer.mutableSpan
            var raw = unsafe span.mutableBytes
            var piece = raw._mutatingExtracting(0..<length)
            try volume.read(logical: logical, into: &piece, mirror: mirror + 1)
        } catch {
            if error.code != .missingDevice { report(.data, error.located(devid: devid)) }
            return
        }
        let type = superBlock.checksumType
        let sector = Int(sectorSize)
        for index in 0..<length / sector {
            let bytes = unsafe buffer.span.bytes.extracting(index * sector..<(index + 1) * sector)
            let sum = type.checksum(of: bytes)
            let recorded = firstSum + index * type.byteCount
            for byte in 0..<type.byteCount where sum.bytes[byte] != leaf.bytes[recorded + byte] {
                report(
                    CheckFault(
                        .data,
                        "copy % does not match its checksum",
                        UInt64(mirror + 1),
                        logical: logical + UInt64(index * sector),
                        devid: devid
                    )
                )
                break
            }
        }
        countVerified(UInt64(length))
    }
}
