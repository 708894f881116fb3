package main

import "encoding/base64"

// icon is two arrows, one there and one back.
var icon = base64.StdEncoding.EncodeToString([]byte(
	`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" rx="12" fill="#22384f"/>` +
		`<path d="M12 24h30l-8-8M52 40H22l8 8" fill="none" stroke="#f2a33a" stroke-width="6" stroke-linecap="round" stroke-linejoin="round"/></svg>`))
