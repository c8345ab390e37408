//===-- Volume+Reading.swift - bytes by logical address ---------------------------------------===//
// Splits a range at chunks and stripes, reads each piece from one mirror or the first that works,
// and rebuilds raid5 and raid6 pieces from what is left of their row.
//
// Mirrors are numbered from 1 as the kernel numbers them; 0 asks for any. What is right is for the
// caller to say: this layer knows device errors, `readBlock` takes a check from above.
//
// Bounds: a piece is tried on every mirror at most once, a rebuild at most three times.

package import BGDiskFormat
internal import CShim

extension Volume {
    /// Ways to read the byte at `logical`.
    ///
    /// Throws `.invalidArgument` where no chunk holds it.
    package func mirrorCount(logical: UInt64) throws(FilesystemError) -> Int {
        try mappedChunk(at: logical).mirrorCount
    }

    /// Fills `buffer` from `logical` on, across stripes and chunks.
    ///
    /// - Parameter mirror: 0 for any that the devices can read, otherwise that one alone.
    ///
    /// Throws `.invalidArgument` where no chunk holds some of the range or it has no such mirror,
    /// `.io` or `.missingDevice` where devices fail.
    package func read(
        logical: UInt64,
        into buffer: UnsafeMutableRawBufferPointer,
        mirror: Int = 0
    ) throws(FilesystemError) {
        guard logical.end(adding: UInt64(buffer.count)) != nil else {
            throw FilesystemError(
                .invalidArgument,
                "read",
                "% bytes pass the last address",
                UInt64(buffer.count),
                logical: logical
            )
        }
        var done = 0
        while done < buffer.count {
            let from = logical + UInt64(done)
            let chunk = try mappedChunk(at: from)
            let place = chunk.place(offset: from - chunk.item.logical)
            let length = Int(min(place.contiguous, UInt64(buffer.count - done)))
            let piece = unsafe UnsafeMutableRawBufferPointer(
                rebasing: buffer[done..<done + length]
            )
            do throws(FilesystemError) {
                if mirror == 0 {
                    try unsafe readAnyMirror(chunk, place, into: piece)
                } else {
                    try unsafe readMirror(chunk, place, into: piece, mirror: mirror)
                }
            } catch {
                throw error.located(logical: from)
            }
            done += length
        }
    }

    /// Fills `span` from `logical` on; see `read(logical:into:mirror:)`.
    package func read(
        logical: UInt64,
        into span: inout MutableRawSpan,
        mirror: Int = 0
    ) throws(FilesystemError) {
        try unsafe span.withUnsafeMutableBytes { buffer throws(FilesystemError) in
            try unsafe read(logical: logical, into: buffer, mirror: mirror)
        }
    }

    /// Reads a block from the first mirror whose bytes `verify` accepts.
    ///
    /// Throws what was wrong with the first mirror where all fail, and `.corrupt` where no chunk
    /// holds the block: its address came from the device.
    package func readBlock(
        logical: UInt64,
        length: Int,
        verify: (RawSpan) throws(FilesystemError) -> Void
    ) throws(FilesystemError) -> [UInt8] {
        guard let chunk = chunk(at: logical) else {
            throw FilesystemError(
                .corrupt,
                "address",
                "no chunk holds it",
                logical: logical
            )
        }
        var first: FilesystemError?
        var bytes = [UInt8](repeating: 0, count: length)
        for mirror in 1...chunk.mirrorCount {
            do throws(FilesystemError) {
                var span = bytes.mutableSpan
                var raw = unsafe span.mutableBytes
                try read(logical: logical, into: &raw, mirror: mirror)
                try verify(raw.bytes)
                if first != nil { noteCorrectedRead() }
                return bytes
            } catch {
                first = first ?? error.located(logical: logical)
            }
        }
        throw first
            ?? FilesystemError(.io, "address", "no mirror to read", logical: logical)
    }

    /// The chunk of an address that must have one.
    func mappedChunk(at logical: UInt64) throws(FilesystemError) -> Chunk {
        guard let chunk = chunk(at: logical) else {
            throw FilesystemError(
                .invalidArgument,
                "address",
                "no chunk holds it",
                logical: logical
            )
        }
        return chunk
    }

    private func readAnyMirror(
        _ chunk: Chunk,
        _ place: Chunk.Place,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(FilesystemError) {
        var first: FilesystemError?
        var devicesFailed = false
        for mirror in 1...chunk.mirrorCount {
            do throws(FilesystemError) {
                try unsafe readMirror(chunk, place, into: buffer, mirror: mirror)
                // A device that is not there was expected to fail.
                if devicesFailed { noteCorrectedRead() }
                return
            } catch {
                first = first ?? error
                devicesFailed = devicesFailed || error.code != .missingDevice
            }
        }
        throw first ?? FilesystemError(.io, "address", "no mirror to read")
    }

    private func readMirror(
        _ chunk: Chunk,
        _ place: Chunk.Place,
        into buffer: UnsafeMutableRawBufferPointer,
        mirror: Int
    ) throws(FilesystemError) {
        guard 1...chunk.mirrorCount ~= mirror else {
            throw FilesystemError(
                .invalidArgument,
                "chunk",
                "has no mirror %",
                UInt64(truncatingIfNeeded: mirror)
            )
        }
        if mirror <= chunk.item.profile.copies {
            let index = chunk.stripeIndex(of: place, mirror: mirror)
            try unsafe readStripe(chunk, index, place.stripeOffset, into: buffer)
        } else {
            try unsafe rebuild(chunk, place, into: buffer, mirror: mirror)
        }
    }

    private func readStripe(
        _ chunk: Chunk,
        _ index: Int,
        _ stripeOffset: UInt64,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(FilesystemError) {
        let stripe = chunk.item.stripes[index]
        guard let device = chunk.devices[index] else {
            throw FilesystemError(
                .missingDevice,
                "device",
                "not there",
                devid: stripe.devid
            )
        }
        try unsafe device.read(physical: stripe.physical + stripeOffset, into: buffer)
    }
}

// MARK: - Raid5 and raid6

/// Which stripes of a row a rebuild does without. Roles: data from 0, then P, then Q.
private struct LostRoles {
    let wanted: Int
    let dataStripes: Int
    let parityStripes: Int
    var otherData: Int?
    var pLost = false
    var qLost: Bool
    var count = 1

    init(wanted: Int, _ item: ChunkItem) {
        self.wanted = wanted
        dataStripes = item.dataStripes
        parityStripes = item.profile.parityStripes
        qLost = parityStripes < 2
    }

    /// Gives up one more role; false where that is too many.
    mutating func lose(_ role: Int) -> Bool {
        guard count < parityStripes else { return false }
        count += 1
        if role < dataStripes {
            otherData = role
        } else if role == dataStripes {
            pLost = true
        } else {
            qLost = true
        }
        return true
    }

    /// How the wanted stripe follows from the others.
    var plan: bgs_raid_plan {
        if let otherData {
            return bgs_raid_plan_pq(UInt32(wanted), UInt32(otherData))
        }
        return pLost ? bgs_raid_plan_q(UInt32(wanted)) : bgs_raid_plan_p()
    }

    /// What a role is multiplied with; 0 where it is not needed.
    func coefficient(_ role: Int, _ plan: bgs_raid_plan) -> UInt8 {
        if role == wanted || role == otherData { return 0 }
        if role < dataStripes { return bgs_raid_data_coefficient(plan, UInt32(role)) }
        return role == dataStripes ? plan.p : plan.q
    }
}

extension Volume {
    /// Computes a place's bytes from the rest of its row.
    private func rebuild(
        _ chunk: Chunk,
        _ place: Chunk.Place,
        into buffer: UnsafeMutableRawBufferPointer,
        mirror: Int
    ) throws(FilesystemError) {
        var lost = LostRoles(wanted: place.dataIndex, chunk.item)
        if mirror > 2 {
            // From the last role before Q downwards, as the kernel counts, past the wanted one.
            var role = chunk.item.stripes.count - (mirror - 1)
            if role <= place.dataIndex { role -= 1 }
            _ = lost.lose(role)
        }
        let survivor = UnsafeMutableRawBufferPointer.allocate(
            byteCount: buffer.count,
            alignment: 64
        )
        defer { unsafe survivor.deallocate() }
        // Ends: every further turn has lost one more role, of at most two.
        while true {
            var failure: FilesystemError?
            let failedRole = unsafe addUp(
                chunk,
                place,
                lost,
                into: buffer,
                survivor,
                &failure
            )
            guard let failedRole, let failure else { return }
            guard lost.lose(failedRole) else { throw failure }
        }
    }

    /// Sums up the survivors; returns the role that could not be read, if any.
    private func addUp(
        _ chunk: Chunk,
        _ place: Chunk.Place,
        _ lost: LostRoles,
        into sum: UnsafeMutableRawBufferPointer,
        _ survivor: UnsafeMutableRawBufferPointer,
        _ failure: inout FilesystemError?
    ) -> Int? {
        let plan = lost.plan
        unsafe sum.initializeMemory(as: UInt8.self, repeating: 0)
        for role in 0..<chunk.item.stripes.count {
            let coefficient = lost.coefficient(role, plan)
            if coefficient == 0 { continue }
            let index = chunk.stripeIndex(ofRole: role, row: place.row)
            do throws(FilesystemError) {
                try unsafe readStripe(chunk, index, place.stripeOffset, into: survivor)
            } catch {
                failure = error
                return role
            }
            unsafe bgs_raid_add(
                sum.baseAddress,
                survivor.baseAddress,
                sum.count,
                coefficient
            )
        }
        return nil
    }
}
