"""How the page looks: warm paper by day, warm ink by night, one strong colour for what acts."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

STYLE_PATH = Path(__file__).with_name("style.css")
AROUND = """<style>
@media (max-width: 640px) {
  .gradio-container .main.fillable.app { padding-inline: 0.9rem; }
  .gradio-container footer .show-api ~ .divider { display: none; } /* what stands before it is not shown there */
}
</style>"""
"""Style of what is around the page's own parts: Gradio lets rules of style files reach those alone."""

_SANS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
_MONO = ("ui-monospace", "SF Mono", "Menlo", "DejaVu Sans Mono", "monospace")


def theme() -> gr.themes.Base:
    """The theme, light and dark. Its fonts are the system's: the page fetches nothing from elsewhere."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.orange,
        neutral_hue=gr.themes.colors.stone,
        radius_size=gr.themes.sizes.radius_md,
        spacing_size=gr.themes.sizes.spacing_md,
        font=_SANS,
        font_mono=_MONO,
    ).set(
        body_background_fill="#f6f3ec",
        body_background_fill_dark="#131210",
        body_text_color="#211e1a",
        body_text_color_dark="#f1ece2",
        body_text_color_subdued="#6b645a",
        body_text_color_subdued_dark="#a59d90",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#1c1a17",
        background_fill_secondary="#f0ece3",
        background_fill_secondary_dark="#25221e",
        border_color_primary="#e2dccf",
        border_color_primary_dark="#37322b",
        border_color_accent="#cf3f1f",
        border_color_accent_dark="#ff7a59",
        color_accent="#cf3f1f",
        color_accent_soft="#fbe6df",
        color_accent_soft_dark="#3a2018",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_border_width_dark="0px",
        block_shadow="none",
        block_padding="0",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_title_text_weight="600",
        block_title_text_size="*text_sm",
        block_title_text_color="*body_text_color",
        block_title_text_color_dark="*body_text_color",
        block_info_text_size="*text_xs",
        form_gap_width="0px",
        input_background_fill="#ffffff",
        input_background_fill_dark="#25221e",
        input_background_fill_focus="#ffffff",
        input_background_fill_focus_dark="#25221e",
        input_border_width="1px",
        input_border_width_dark="1px",
        input_border_color="#d5cdbd",
        input_border_color_dark="#443e35",
        input_border_color_focus="#cf3f1f",
        input_border_color_focus_dark="#ff7a59",
        input_shadow="none",
        input_shadow_focus="0 0 0 3px rgb(207 63 31 / 0.18)",
        button_primary_background_fill="#cf3f1f",
        button_primary_background_fill_dark="#ff7a59",
        button_primary_background_fill_hover="#b23316",
        button_primary_background_fill_hover_dark="#ff9378",
        button_primary_border_color="#cf3f1f",
        button_primary_border_color_dark="#ff7a59",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#23110b",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_dark="#25221e",
        button_secondary_background_fill_hover="#f0ece3",
        button_secondary_background_fill_hover_dark="#312d27",
        button_secondary_border_color="#d5cdbd",
        button_secondary_border_color_dark="#443e35",
        button_border_width="1px",
        button_large_text_weight="600",
        checkbox_background_color_selected="#cf3f1f",
        checkbox_background_color_selected_dark="#ff7a59",
        checkbox_border_color="#b9b09e",
        checkbox_border_color_dark="#6b6255",
        checkbox_border_color_selected="#cf3f1f",
        checkbox_border_color_selected_dark="#ff7a59",
        checkbox_label_background_fill="transparent",
        checkbox_label_background_fill_dark="transparent",
        checkbox_label_background_fill_hover="transparent",
        checkbox_label_background_fill_hover_dark="transparent",
        checkbox_label_background_fill_selected="transparent",
        checkbox_label_background_fill_selected_dark="transparent",
        checkbox_label_padding="0",
        slider_color="#cf3f1f",
        slider_color_dark="#ff7a59",
        link_text_color="#b23316",
        link_text_color_dark="#ff9378",
    )
