//===-- CrashPoints.swift - the images that a loss of power could have left ----------------------===//
// From a recording: at every flush, the image with nothing, everything, and random parts of what was
// in flight.
//
// What a device promises here: a write that ended before a flush began is there after the flush; of the
// others any may be there, in any order, and of one longer than `pieceBytes` any pieces; a piece is
// there as a whole or not at all. (Linux promises no more; a piece is what a sector of 4 KiB gives.)
//
// Not here: what must hold of an image (the tests say it).
//===-------------------------------------------------------------------------------------------===//

package import BGDevices
import BGDiskFormat
import Foundation

/// What the devices hold after a crash.
package struct CrashImage {
    package let devices: [MemoryDevice]
    /// The last mark before the crash; nil: none.
    package let lastMark: Int?
    /// Says which crash it is: the place in the stream, and the seed of the part.
    package let name: String
}

/// Makes every crash image of a recording, one after the other.
package struct CrashPoints {
    /// Random parts of what was in flight, for each flush.
    package var partsPerFlush = 3
    /// A write is torn into pieces of so many bytes.
    package var pieceBytes = 4096
    package var seed: UInt64

    private let recording: [Recording.Event]
    private let begin: [any BlockDevice]

    /// - Parameters:
    ///   - begin: what the devices held when the recording began; not changed.
    package init(
        _ recording: Recording,
        from begin: [any BlockDevice],
        seed: UInt64
    ) {
        self.recording = recording.events
        self.begin = begin
        self.seed = seed
    }

    /// How many flushes there are to crash at.
    package var flushCount: Int {
        recording.reduce(0) { if case .flush = $1 { $0 + 1 } else { $0 } }
    }

    /// Calls `body` for every crash image: of crashes between each flush and the next, and after the
    /// last. An image is good until `body` returns.
    package func forEach(_ body: (CrashImage) throws -> Void) throws {
        let durable = begin.map { MemoryDevice(over: $0) }
        var random = SeededGenerator(state: seed)
        var window = Window(devices: begin.count)
        for (place, event) in recording.enumerated() {
            switch event {
            case .write(let device, _, _): window.inFlight[device].append(place)
            case .mark(let number): window.marks.append((place, number))
            case .flush(let device):
                window.end = place
                try visit(window, durable, &random, body)
                for place in window.inFlight[device] { apply(place, to: durable[device]) }
                window.inFlight[device] = []
                window.start = place + 1
            }
        }
        window.end = recording.count
        try visit(window, durable, &random, body)
    }

    /// The events between two flushes.
    private struct Window {
        var start = 0
        var end = 0
        /// Per device, the writes (by place, perhaps before `start`) that no flush has made durable.
        var inFlight: [[Int]]
        var marks: [(place: Int, number: Int)] = []

        init(devices: Int) { inFlight = Array(repeating: [], count: devices) }
    }

    private func visit(
        _ window: Window,
        _ durable: [MemoryDevice],
        _ random: inout SeededGenerator,
        _ body: (CrashImage) throws -> Void
    ) throws {
        /// The image of a crash just before the event at `cut`.
        func image(
            _ name: String,
            before cut: Int,
            _ arrive: (_ event: Int, _ device: MemoryDevice) -> Void
        ) throws {
            let devices = durable.map { MemoryDevice(over: $0) }
            for (index, places) in window.inFlight.enumerated() {
                for event in places where event < cut { arrive(event, devices[index]) }
            }
            try body(
                CrashImage(
                    devices: devices,
                    lastMark: window.marks.last { $0.place < cut }?.number,
                    name: "event \(window.end) of \(recording.count), \(name)"
                )
            )
        }
        try image("nothing in flight arrived", before: window.end) { _, _ in }
        guard window.inFlight.contains(where: { !$0.isEmpty }) else { return }
        try image("all arrived", before: window.end) { apply($0, to: $1) }
        for _ in 0..<partsPerFlush {
            let partSeed = random.next()
            var part = SeededGenerator(state: partSeed)
            let cut = Int.random(in: window.start...window.end, using: &part)
            let percent = [10, 50, 90].randomElement(using: &part)!
            try image("\(percent) % of those before \(cut), part \(partSeed)", before: cut) {
                apply($0, to: $1, percent: percent, &part)
            }
        }
    }

    private func apply(_ place: Int, to device: MemoryDevice) {
        guard case .write(_, let physical, let bytes) = recording[place] else { return }
        device.replace(at: Int(physical), with: bytes)
    }

    /// Some pieces of a write.
    private func apply(
        _ place: Int,
        to device: MemoryDevice,
        percent: Int,
        _ random: inout SeededGenerator
    ) {
        guard case .write(_, let physical, let bytes) = recording[place] else { return }
        // Three of four are there or not as a whole; the others are torn.
        let whole =
            Int.random(in: 0..<4, using: &random) > 0
            ? Int.random(in: 0..<100, using: &random) < percent : nil
        for start in stride(from: 0, to: bytes.count, by: pieceBytes) {
            guard whole ?? (Int.random(in: 0..<100, using: &random) < percent) else { continue }
            let end = min(start + pieceBytes, bytes.count)
            device.replace(at: Int(physical) + start, with: Array(bytes[start..<end]))
        }
    }
}
