//===-- Terminal.swift - what the terminal can do, and progress on it -----------------------------===//
// Colour only on a terminal, and never with NO_COLOR set (to anything but nothing). Progress goes to
// standard error: in place on a terminal, otherwise a line now and then, and nothing at all for work
// that is done within a second.

import Glibc

enum Terminal {
    /// Columns of standard output; `COLUMNS`, or 100, where it is no terminal.
    static var width: Int {
        var size = winsize()
        if unsafe ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 {
            return Int(size.ws_col)
        }
        return environment("COLUMNS").flatMap { Int($0) }.map { max(40, min($0, 1000)) } ?? 100
    }

    static var hasColour: Bool {
        isatty(STDOUT_FILENO) == 1 && (environment("NO_COLOR") ?? "").isEmpty
            && environment("TERM") != "dumb"
    }

    static func environment(_ name: String) -> String? {
        guard let value = unsafe getenv(name) else { return nil }
        return unsafe String(cString: value)
    }
}

/// Colours of text, or none.
struct Style {
    let isOn: Bool

    func paint(_ text: String, _ codes: String) -> String {
        isOn && !text.isEmpty ? "\u{1b}[\(codes)m\(text)\u{1b}[0m" : text
    }

    func bold(_ text: String) -> String { paint(text, "1") }
    func dim(_ text: String) -> String { paint(text, "2") }
}

/// Says on standard error how far long work is.
struct Progress {
    private let what: String
    private let isTerminal = isatty(STDERR_FILENO) == 1
    private let began = ContinuousClock.now
    private var said = ContinuousClock.now
    private var hasSaid = false

    init(_ what: String) { self.what = what }

    mutating func report(_ done: Int, of total: Int) {
        report("\(grouped(UInt64(done))) of \(grouped(UInt64(total)))")
    }

    /// - Parameter state: asked for only when it is shown.
    mutating func report(_ state: @autoclosure () -> String) {
        let now = ContinuousClock.now
        let pause: Duration = isTerminal ? .milliseconds(100) : .seconds(5)
        guard now - began >= .seconds(isTerminal ? 0 : 1), !hasSaid || now - said >= pause else {
            return
        }
        // On a terminal too, what takes an instant needs no word.
        if isTerminal, now - began < .milliseconds(300) { return }
        let text = "\(what): \(state())"
        if isTerminal {
            _ = writeAll([UInt8]("\r\u{1b}[K\(text)".utf8), to: STDERR_FILENO)
        } else {
            say("bgctl: \(text)")
        }
        said = now
        hasSaid = true
    }

    /// Clears the line.
    mutating func end() {
        if isTerminal, hasSaid { _ = writeAll([UInt8]("\r\u{1b}[K".utf8), to: STDERR_FILENO) }
    }
}
