package curl

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxCommand bounds a command line that was pasted.
const maxCommand = 1 << 20

// Words splits a command line as a POSIX shell does, with the $'…' of bash,
// which browsers write: quotes, backslashes and continued lines, and nothing
// else. What only a shell can expand (variables, other programs, patterns) is
// refused, and so is a second command: what is read here is one command line
// as it stands. The ^-quoting of cmd.exe is not read: in a browser choose "Copy
// as cURL (bash)" or "(POSIX)".
func Words(line string) ([]string, error) {
	if len(line) > maxCommand {
		return nil, fmt.Errorf("the command line has more than %d bytes", maxCommand)
	}
	if !utf8.ValidString(line) || strings.ContainsRune(line, 0) {
		return nil, errors.New("the command line is not text")
	}
	s := splitter{rest: strings.TrimSpace(strings.ReplaceAll(line, "\r\n", "\n"))}
	for s.rest != "" {
		if err := s.next(); err != nil {
			return nil, err
		}
	}
	s.end()
	return s.words, nil
}

// splitter reads words off a line.
type splitter struct {
	rest  string
	word  strings.Builder
	open  bool // a word has begun, even if it is still empty
	words []string
}

func (s *splitter) end() {
	if s.open {
		s.words = append(s.words, s.word.String())
		s.word.Reset()
		s.open = false
	}
}

func (s *splitter) add(text string) {
	s.word.WriteString(text)
	s.open = true
}

// next reads one piece: blanks, a quoted part or a character.
func (s *splitter) next() error {
	c := s.rest[0]
	s.rest = s.rest[1:]
	switch c {
	case ' ', '\t':
		s.end()
	case '\'':
		return s.single()
	case '"':
		return s.double()
	case '\\':
		return s.escaped()
	case '$':
		if strings.HasPrefix(s.rest, "'") {
			s.rest = s.rest[1:]
			return s.ansi()
		}
		return errors.New("$ stands for what a shell would put there: write the value, or quote the $")
	case '\n', ';', '&', '|', '<', '>', '(', ')', '`':
		return fmt.Errorf("an unquoted %q: give one command, without other programs and files", c)
	case '#':
		if !s.open {
			return errors.New("an unquoted # begins a comment: quote it")
		}
		s.add("#")
	default: // also ? and [: a shell leaves them where no file fits
		s.add(string([]byte{c}))
	}
	return nil
}

func (s *splitter) single() error {
	text, rest, ok := strings.Cut(s.rest, "'")
	if !ok {
		return errors.New("a ' is not closed")
	}
	s.add(text)
	s.rest = rest
	return nil
}

func (s *splitter) double() error {
	s.add("")
	for s.rest != "" {
		c := s.rest[0]
		s.rest = s.rest[1:]
		switch c {
		case '"':
			return nil
		case '$', '`':
			return fmt.Errorf("%q inside \" stands for what a shell would put there: write the value", c)
		case '\\':
			switch {
			case s.rest == "":
			case s.rest[0] == '\n':
				s.rest = s.rest[1:]
			case strings.IndexByte("$`\"\\", s.rest[0]) >= 0:
				s.add(s.rest[:1])
				s.rest = s.rest[1:]
			default:
				s.add(`\`)
			}
		default:
			s.add(string([]byte{c}))
		}
	}
	return errors.New(`a " is not closed`)
}

// escaped reads what follows a backslash outside of quotes.
func (s *splitter) escaped() error {
	if s.rest == "" {
		return errors.New("a backslash at the end escapes nothing")
	}
	if s.rest[0] == '\n' { // the line goes on
		s.rest = s.rest[1:]
		return nil
	}
	s.add(s.rest[:1])
	s.rest = s.rest[1:]
	return nil
}

// ansi reads the rest of $'…'.
func (s *splitter) ansi() error {
	s.add("")
	for s.rest != "" {
		c := s.rest[0]
		s.rest = s.rest[1:]
		switch c {
		case '\'':
			return nil
		case '\\':
			if err := s.ansiEscape(); err != nil {
				return err
			}
		default:
			s.add(string([]byte{c}))
		}
	}
	return errors.New("a $' is not closed")
}

var ansiLetters = map[byte]string{
	'n': "\n", 't': "\t", 'r': "\r", 'a': "\a", 'b': "\b", 'f': "\f", 'v': "\v", 'e': "\x1b", 'E': "\x1b",
	'\\': `\`, '\'': "'", '"': `"`, '?': "?",
}

func (s *splitter) ansiEscape() error {
	if s.rest == "" {
		return errors.New("a $' is not closed")
	}
	c := s.rest[0]
	if text, ok := ansiLetters[c]; ok {
		s.rest = s.rest[1:]
		s.add(text)
		return nil
	}
	switch c {
	case 'x':
		return s.ansiNumber(1, 2, 16)
	case 'u':
		return s.ansiNumber(1, 4, 16)
	case 'U':
		return s.ansiNumber(1, 8, 16)
	case '0', '1', '2', '3', '4', '5', '6', '7':
		return s.ansiNumber(0, 3, 8)
	}
	return fmt.Errorf("\\%c is no escape of $'…'", c)
}

// ansiNumber reads up to most digits after skip bytes: a byte, or the code
// point of \u and \U.
func (s *splitter) ansiNumber(skip, most, base int) error {
	kind, digits := s.rest[0], s.rest[skip:]
	n := 0
	for n < most && n < len(digits) {
		if _, err := strconv.ParseUint(digits[n:n+1], base, 8); err != nil {
			break
		}
		n++
	}
	value, err := strconv.ParseUint(digits[:n], base, 32)
	if err != nil || value == 0 {
		return fmt.Errorf("a number after a backslash in $'…' is missing, or 0")
	}
	s.rest = digits[n:]
	if kind == 'u' || kind == 'U' {
		if !utf8.ValidRune(rune(value)) { // #nosec G115 -- eight digits at most: what wraps is no rune
			return fmt.Errorf("\\%c%s in $'…' is no character", kind, digits[:n])
		}
		s.add(string(rune(value))) // #nosec G115 -- a valid rune, as tested above
		return nil
	}
	s.add(string([]byte{byte(value)})) // #nosec G115 -- the shell takes the low eight bits too
	return nil
}
