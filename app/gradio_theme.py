"""Give Gradio's own parts, such as its API page, the colours, fonts and sizes of page/tokens.css."""

from __future__ import annotations

from app.gradio_import import gr

# Gradio's variable → ours; ours change with the class `dark` on the body, so both of Gradio's modes name the same
_COLOURS = {
    "body_background_fill": "back",
    "background_fill_primary": "card",
    "background_fill_secondary": "well",
    "block_background_fill": "card",
    "code_background_fill": "well",
    "panel_background_fill": "card",
    "input_background_fill": "well",
    "table_even_background_fill": "card",
    "table_odd_background_fill": "well",
    "border_color_primary": "edge",
    "block_border_color": "edge",
    "input_border_color": "edge-strong",
    "border_color_accent": "go-edge",
    "color_accent_soft": "go-wash",
    "body_text_color": "ink",
    "body_text_color_subdued": "pale",
    "link_text_color": "go-word",
    "link_text_color_active": "go-word",
    "link_text_color_hover": "go-word",
    "link_text_color_visited": "go-word",
    "loader_color": "go-edge",
    "slider_color": "go-edge",
    "checkbox_background_color_selected": "go-edge",
    "button_primary_background_fill": "go",
    "button_primary_background_fill_hover": "go-over",
    "button_primary_border_color": "go-edge",
    "button_primary_text_color": "go-ink",
    "button_secondary_background_fill": "well",
    "button_secondary_background_fill_hover": "over",
    "button_secondary_border_color": "edge",
    "button_secondary_text_color": "ink",
    "error_background_fill": "fault-wash",
    "error_border_color": "fault",
    "error_text_color": "fault",
}
_SIZES = {
    "body_text_size": "normal",
    "block_radius": "rounder",
    "container_radius": "rounder",
    "input_radius": "round",
    "button_large_radius": "round",
    "button_small_radius": "round",
}


def theme() -> gr.themes.Base:
    """Return the theme."""
    fonts = ["Longtake Inter", "system-ui", "sans-serif"]
    made = gr.themes.Base(font=fonts, font_mono=["ui-monospace", "Menlo", "Consolas", "monospace"])
    colours = {name: f"var(--lt-{ours})" for name, ours in _COLOURS.items()}
    sizes = {name: f"var(--lt-{ours})" for name, ours in _SIZES.items()}
    made.set(**colours, **{f"{name}_dark": value for name, value in colours.items()}, **sizes)
    return made.set(color_accent="var(--lt-go-edge)")
